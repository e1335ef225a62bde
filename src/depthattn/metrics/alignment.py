"""Predictions in other spaces than depth, and their alignment to the ground truth before they are scored."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.metrics.errors import check_range, scored_maps
from depthattn.ops import checks
from depthattn.ops.scale_shift import least_squares, median

ALIGNMENTS = ("median", "least_squares")
SPACES = ("depth", "disparity", "log")


def to_depth(values: Tensor, space: str) -> Tensor:
    """Convert disparity or log depth to depth.

    Args:
        values: of any shape.
        space: ``"depth"``; ``"disparity"``, which is 1 / depth; or ``"log"``, the natural logarithm of depth.

    Returns:
        Depth in the shape of ``values``; inf where a disparity is 0 or less.

    Raises:
        ValueError: if there is no such space.
        TypeError: if ``values`` is not floating point.

    Example:
        >>> import torch
        >>> from depthattn.metrics import to_depth
        >>> to_depth(torch.tensor([0.5, 0.0]), "disparity").tolist()
        [2.0, inf]
    """
    _check_values("to_depth", values, space)
    if space == "disparity":
        return torch.where(values <= 0, torch.inf, values.reciprocal())
    return values.exp() if space == "log" else values


def from_depth(depth: Tensor, space: str) -> Tensor:
    """Convert depth to disparity or log depth, the inverse of :func:`to_depth`.

    Args:
        depth: of any shape, > 0.
        space: ``"depth"``, ``"disparity"`` or ``"log"``.

    Returns:
        The values of that space, in the shape of ``depth``.

    Raises:
        ValueError: if there is no such space.
        TypeError: if ``depth`` is not floating point.

    Example:
        >>> import torch
        >>> from depthattn.metrics import from_depth
        >>> from_depth(torch.tensor([2.0, 4.0]), "disparity").tolist()
        [0.5, 0.25]
    """
    _check_values("from_depth", depth, space)
    if space == "disparity":
        return depth.reciprocal()
    return depth.log() if space == "log" else depth


def align_depth(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    method: str = "median",
    space: str = "depth",
    min_depth: float = 1e-3,
    max_depth: float | None = 10.0,
) -> Tensor:
    r"""Align a prediction to the ground truth of each image by a scale, or by a scale and a shift, and return depth.

    For models that predict depth, disparity or log depth up to a scale, or up to a scale and a shift. Alignment uses
    the ground truth, so aligned scores do not compare with those of metric depth. With the prediction p and the ground
    truth q, both in ``space`` (:math:`q = g, 1/g` or :math:`\ln g`), over the valid pixels of each image:

    ================= =========================================================================================
    ``median``        :math:`p \cdot \operatorname{median}(q) / \operatorname{median}(p)`; in log space
                      :math:`p + \operatorname{median}(q) - \operatorname{median}(p)`: one factor of depth
    ``least_squares`` :math:`a p + b` with a and b that minimise :math:`\sum (a p + b - q)^2`; a is 0 where all
                      predictions are equal
    ================= =========================================================================================

    The result is converted to depth. A disparity that is right up to a scale and a shift gives the right depth only if
    it is aligned as disparity. For training, use :func:`depthattn.functional.align_scale_shift`.

    Args:
        pred: prediction (B,1,H,W), (B,H,W) or (H,W), in ``space`` and any unit.
        target: true depth of the same size, metres; 0 where missing.
        mask: bool, True = use; None = all.
        method: ``"median"`` or ``"least_squares"``.
        space: ``"depth"``; ``"disparity"``, for predicted inverse depth; or ``"log"``, for predicted log depth.
        min_depth: smallest true depth that counts, metres, > 0.
        max_depth: largest true depth that counts, metres, or None for no limit.

    Returns:
        Depth in metres, in the shape of ``pred``, float32 (float64 where an input is float64). Nothing is clamped:
        :class:`DepthMetrics` does that. A disparity that is 0 or less gives inf. An image without a valid pixel is not
        aligned. ``median`` waits for the device, ``least_squares`` does not.

    Raises:
        ValueError: if an option, the range or the shapes do not fit.
        TypeError: if a map is not floating point or the mask not bool.

    Source:
        ``median``: Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017.
        ``least_squares``: Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, in disparity; Ke et
        al., "Repurposing Diffusion-Based Image Generators for Monocular Depth Estimation", CVPR 2024, in depth.

    Example:
        >>> import torch
        >>> from depthattn.metrics import align_depth
        >>> pred, target = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 6.0, 0.0]])
        >>> align_depth(pred, target).tolist()
        [[3.0, 6.0, 9.0]]
        >>> depth = torch.tensor([[0.5, 1.0, 2.0]])
        >>> align_depth(2 / depth + 1, depth, method="least_squares", space="disparity")
        tensor([[0.5000, 1.0000, 2.0000]])
    """
    checks.check_choice("align_depth", "method", method, ALIGNMENTS)
    checks.check_choice("align_depth", "space", space, SPACES)
    check_range("align_depth", min_depth, max_depth)
    maps, target, valid = scored_maps("align_depth", pred, target, mask, min_depth, max_depth)
    truth = from_depth(torch.where(valid, target, 1.0), space)
    if method == "least_squares":
        aligned = least_squares(maps, truth, valid)
    else:
        middles = median(maps, valid), median(truth, valid)
        aligned = maps + (middles[1] - middles[0]) if space == "log" else maps * (middles[1] / middles[0])
        aligned = torch.where(valid.any(2, keepdim=True).any(1, keepdim=True), aligned, maps)
    return to_depth(aligned, space).view(pred.shape)


def _check_values(name: str, values: Tensor, space: str) -> None:
    checks.check_float(name, "values" if name == "to_depth" else "depth", values)
    checks.check_choice(name, "space", space, SPACES)
