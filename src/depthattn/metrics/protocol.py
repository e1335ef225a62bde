"""What is done to a prediction before it is scored: crops of the picture, and alignment to the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.metrics.errors import check_range, counted
from depthattn.ops import checks

ALIGNMENTS = ("median", "least_squares")

Span = tuple[int, int]

EIGEN_CROP: tuple[Span, Span] = ((45, 471), (41, 601))


def crop_mask(size: tuple[int, int], crop: tuple[Span, Span] = EIGEN_CROP) -> Tensor:
    """A mask of the part of a picture that is scored.

    Crops in use for NYU Depth at 480x640, as Python slices of rows and columns: 45:471, 41:601 (Eigen et al., and most
    since), 20:459, 24:615 and 21:461, 25:617. Numbers from different crops do not compare.

    Args:
        size: (H, W) of the picture in pixels.
        crop: first row and the one behind the last, then the same of the columns.

    Returns:
        bool (H, W), True inside the crop.

    Raises:
        ValueError: if the crop is empty or does not lie inside the picture.

    Example:
        >>> from depthattn.metrics import crop_mask
        >>> int(crop_mask((480, 640)).sum()) == (471 - 45) * (601 - 41)
        True
    """
    height, width = checks.image_size("crop_mask", size)
    (top, bottom), (left, right) = crop
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(
            f"crop_mask: expected a crop inside {height}x{width} pixels, got rows {top}:{bottom}, "
            f"columns {left}:{right}"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def align_depth(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    method: str = "median",
    min_depth: float = 1e-3,
    max_depth: float | None = 10.0,
) -> Tensor:
    r"""The prediction of each image, brought to the truth by numbers taken from the truth.

    For models that predict depth up to a scale, or up to a scale and a shift. What is known of the truth goes into the
    prediction, so such scores do not compare with those of metric depth. Over the valid pixels of each image:

    ================= =========================================================================================
    ``median``        :math:`d \cdot \operatorname{median}(g) / \operatorname{median}(d)`
    ``least_squares`` :math:`a d + b` with a and b that minimise :math:`\sum (a d + b - g)^2`; a is 0 where all
                      predictions are equal
    ================= =========================================================================================

    Args:
        pred: predicted depth (B,1,H,W), (B,H,W) or (H,W), any unit; not inverse depth.
        target: true depth of the same size, metres; 0 where missing.
        mask: bool, True = use; None = all.
        method: ``"median"`` or ``"least_squares"``.
        min_depth: smallest true depth that counts, metres, > 0.
        max_depth: largest true depth that counts, metres, or None for no limit.

    Returns:
        The aligned prediction, float64, in the shape of ``pred``. An image without a valid pixel stays as it is.
        Nothing is clamped: :class:`DepthMetrics` does that. Valid pixels are gathered, which waits for the device.

    Raises:
        ValueError: if an option, the range or the shapes do not fit.
        TypeError: if a map is not floating point or the mask not bool.

    Source:
        ``median``: Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017.
        ``least_squares``: Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, there in inverse
        depth.

    Example:
        >>> import torch
        >>> from depthattn.metrics import align_depth
        >>> align_depth(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 6.0, 0.0]])).tolist()
        [[3.0, 6.0, 9.0]]
    """
    checks.check_choice("align_depth", "method", method, ALIGNMENTS)
    check_range("align_depth", min_depth, max_depth)
    maps, target, mask = checks.depth_maps("align_depth", pred.detach(), target.detach(), mask)
    valid = counted(target, mask, min_depth, max_depth)
    aligned = maps.double().clone()
    for image, truth, use in zip(aligned, target.double(), valid, strict=True):
        if bool(use.any()):
            d, g = image[use], truth[use]
            if method == "median":
                image *= g.quantile(0.5) / d.quantile(0.5)
            else:
                centred = d - d.mean()
                variance = (centred**2).sum()
                scale = torch.where(variance == 0, 0.0, (centred * g).sum() / variance)
                image.sub_(d.mean()).mul_(scale).add_(g.mean())
    return aligned.view(pred.shape)
