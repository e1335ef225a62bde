"""Scale and shift that bring a map nearest to another one, image by image: least squares, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops import checks
from depthattn.ops.masking import compute_dtype, valid_depth

# A prediction that varies by no more than its rounding is constant: its scale would be noise, and its gradient huge.
_ROUNDINGS = 4


def align_scale_shift(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""The prediction of each image, scaled and shifted to be nearest to its target in the least squares sense.

    .. math::

        \hat p_i = a\, p_i + b, \qquad (a, b) = \arg\min \sum_{i\ \text{valid}} (a\, p_i + b - g_i)^2

    For training and scoring models that predict up to a scale and a shift: align first, then take any loss between the
    result and the target. Most such models predict disparity; then the target is ``1 / depth``, in any unit.

    Args:
        pred: prediction (B,1,H,W), (B,H,W) or (H,W), of any unit and sign.
        target: what it is aligned to, of the same size; valid where finite and > 0.
        mask: bool, True = use; None = all.

    Returns:
        The aligned prediction in the shape of ``pred``, float32 (float64 where an input is float64). An image without a
        valid pixel stays as it is; where all valid predictions are equal, a is 0 and b the mean target.

    Raises:
        ValueError: if the shapes do not fit, or the target asks for a gradient.
        TypeError: if a map is not floating point or the mask not bool.

    Gradient:
        Goes to ``pred``, also through a and b, which depend on all valid pixels of the image. What is predicted at
        other pixels has no part in a and b; where it is not finite there, it is taken as 0. Where all valid predictions
        are equal the gradient is 0. NaN at a valid pixel makes its whole image NaN.

    Source:
        Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, section 5.

    Example:
        >>> import torch
        >>> from depthattn.functional import align_scale_shift
        >>> pred, target = torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[5.0, 7.0, 0.0]])
        >>> align_scale_shift(pred, target)
        tensor([[ 5.,  7., 17.]])
    """
    name = "align_scale_shift"
    maps, truth, mask = checks.depth_maps(name, pred, target, mask)
    dtype = compute_dtype(maps, truth)
    return least_squares(maps.to(dtype), truth.to(dtype), valid_depth(truth, mask)).view(pred.shape)


def least_squares(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """``pred`` (B,H,W) brought nearest to ``target`` over the pixels of ``valid``; the two of one dtype."""
    p, g = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    pixels = valid.sum((1, 2), keepdim=True)
    at_least_one = pixels.clamp(min=1)
    mean_p, mean_g = (x.sum((1, 2), keepdim=True) / at_least_one for x in (p, g))
    spread_p, spread_g = torch.where(valid, p - mean_p, 0), torch.where(valid, g - mean_g, 0)
    variance, covariance = ((spread_p * x).sum((1, 2), keepdim=True) / at_least_one for x in (spread_p, spread_g))
    rounding = _ROUNDINGS * torch.finfo(pred.dtype).eps * mean_p.detach()
    constant = variance <= rounding * rounding
    scale = torch.where(constant, 0, covariance / torch.where(constant, 1, variance))
    # 0 where NaN does not count: the gradient of the scale is a product with this.
    known = torch.where(valid | pred.isfinite(), pred, 0)
    return torch.where(pixels > 0, (known - mean_p) * scale + mean_g, known)


def median(values: Tensor, valid: Tensor) -> Tensor:
    """Median (B,1,1) of the valid ``values`` (B,H,W) of each image, however many: the mean of the two in the middle
    where there are two; NaN for an image that has a NaN, or no valid pixel. Waits for the device."""
    middles = values.new_empty(len(values), 1, 1)
    for middle, image, use in zip(middles, values, valid, strict=True):
        kept = image[use]
        # The lower one of the two; turned round, the upper one.
        middle.fill_((kept.median() - (-kept).median()) / 2)
    return middles
