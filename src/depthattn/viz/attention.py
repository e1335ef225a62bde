"""Where the depth-aware loss looks: alpha, lambda and their sum, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from depthattn.ops import checks, masking
from depthattn.ops.depth_aware import reference


class AttentionMaps(NamedTuple):
    """The weight of each pixel in the depth-aware loss; NaN where the target is not valid.

    Attributes:
        alpha: the weight by depth, in [0, 1], (B, H, W).
        lambda_: the weight by relative error, in [0, 1], (B, H, W).
        total: their sum, in [0, 2], (B, H, W).
    """

    alpha: Tensor
    lambda_: Tensor
    total: Tensor


@torch.no_grad()
def attention_maps(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    max_depth: float | None = None,
    log_offset: float = 1.0,
) -> AttentionMaps:
    """Compute alpha, lambda and their sum, the weights of the depth-aware loss.

    Formula and options are those of :func:`depthattn.functional.depth_aware_loss`.

    Args:
        pred: predicted depth in metres, shape (B, 1, H, W), (B, H, W) or (H, W).
        target: true depth in metres, same shape up to the channel; valid where finite and above 0.
        mask: bool, shape of ``target``, True = use; None uses every valid pixel.
        max_depth: depth in metres at which alpha is 1; None takes the largest valid target of each image.
        log_offset: metres added inside the logarithms of lambda.

    Returns:
        alpha and lambda in [0, 1] and their sum, shape (B, H, W), without gradient; NaN at pixels with no valid
        target.

    Raises:
        ValueError, TypeError: arguments that do not fit.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, doi 10.1007/978-3-030-01267-0_4.

    Example:
        >>> import torch
        >>> from depthattn.viz import attention_maps
        >>> pred, target = torch.tensor([[3.0, 1.0]]), torch.tensor([[3.0, 3.0]])
        >>> maps = attention_maps(pred, target, max_depth=6.0)
        >>> maps.alpha, maps.lambda_
        (tensor([[[0.5000, 0.5000]]]), tensor([[[0.0000, 0.5000]]]))
    """
    function = "attention_maps"
    pred, target, mask = checks.depth_maps(function, pred, checks.detached(function, "target", target), mask)
    checks.check_number(function, "log_offset", log_offset, at_least=0)
    if max_depth is None:
        norm = masking.image_maximum(target, mask)
    else:
        checks.check_number(function, "max_depth", max_depth, above=0)
        norm = target.new_full(target.shape[:1], max_depth)
    valid = masking.valid_depth(target, mask)
    dtype = masking.compute_dtype(pred, target)
    g = torch.where(valid, target.to(dtype), 1)
    p = torch.where(valid, pred.to(dtype), g)
    alpha = torch.where(valid, reference.alpha(g, norm.to(dtype)[:, None, None]), torch.nan)
    lambda_ = torch.where(valid, reference.lambda_(p, g, log_offset), torch.nan)
    return AttentionMaps(alpha, lambda_, alpha + lambda_)
