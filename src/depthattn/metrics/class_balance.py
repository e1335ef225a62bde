"""Weights that balance classes of unequal size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from depthattn.ops import checks

METHODS = ("median_frequency", "inverse", "effective_number")


def class_weights(counts: Tensor, method: str = "median_frequency", *, beta: float | None = None) -> Tensor:
    r"""Compute class weights from class counts: the rarer a class, the larger its weight.

    With the counts :math:`n_k`, over the K' classes that occur (:math:`n_k > 0`):

    ==================== ============================================= ===============================================
    method               weight                                        normalised so that
    ==================== ============================================= ===============================================
    ``median_frequency`` :math:`\operatorname{median}(n) / n_k`        the class of median size has 1
    ``inverse``          :math:`\sum_j n_j / (K' n_k)`                 the mean over what was counted (pixels) is 1
    ``effective_number`` :math:`\propto (1-\beta) / (1-\beta^{n_k})`   the mean over the classes that occur is 1
    ==================== ============================================= ===============================================

    The first two differ by a factor only; ``inverse`` keeps the average size of an unweighted loss. A class that does
    not occur has weight 0, so its pixels have no loss if it occurs later.

    The median of an even number of classes is the mean of the two in the middle. Eigen and Fergus divide each
    :math:`n_k` by the pixels of the images in which the class occurs; you may pass those frequencies as ``counts``.

    Args:
        counts: how often each class occurs, (K,), integer or floating point, such as pixels per class.
        method: one of the above.
        beta: in [0, 1), only used by ``effective_number``: classes with counts far above :math:`1 / (1-\beta)` all get
            the same weight. None takes the mean count of the classes that occur for :math:`1 / (1-\beta)`. The usual
            0.99 to 0.9999 are meant for counts of images; with counts of pixels they give all classes one weight.

    Returns:
        The weights, (K,), float32, on the device of ``counts``, for the argument ``weight`` of
        :class:`depthattn.SemanticFocalLoss` or of ``torch.nn.CrossEntropyLoss``.

    Raises:
        ValueError: if ``method`` or ``beta`` is not among the above, ``counts`` is not (K,) of finite numbers >= 0, all
            are zero, or their mean is below 1 where ``beta`` is to come of it.
        TypeError: if an argument has the wrong type.

    Source:
        ``median_frequency``: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common
        Multi-Scale Convolutional Architecture", ICCV 2015. ``effective_number``: Cui et al., "Class-Balanced Loss Based
        on Effective Number of Samples", CVPR 2019.

    Example:
        >>> import torch
        >>> from depthattn.metrics import class_weights
        >>> counts = torch.tensor([800, 100, 50, 0])
        >>> class_weights(counts)
        tensor([0.1250, 1.0000, 2.0000, 0.0000])
        >>> class_weights(counts, "effective_number", beta=0.99)
        tensor([0.5873, 0.9262, 1.4865, 0.0000])
    """
    n = _checked_counts(counts, method, beta)
    occurs = n > 0
    present = n[occurs]
    if method == "median_frequency":
        weights = np.median(present) / present
    elif method == "inverse":
        weights = present.mean() / present
    else:
        with np.errstate(divide="ignore"):  # the logarithm of 0 has the right limit
            log_beta = np.log1p(-1 / present.mean()) if beta is None else np.log(beta)
        weights = 1 / -np.expm1(present * log_beta)
        weights /= weights.mean()
    result = np.zeros(n.shape, dtype=np.float32)
    result[occurs] = weights
    return torch.from_numpy(result).to(counts.device)


def _checked_counts(counts: Tensor, method: str, beta: float | None) -> npt.NDArray[np.float64]:
    name = "class_weights"
    checks.check_choice(name, "method", method, METHODS)
    checks.check_tensor(name, "counts", counts)
    if counts.dtype == torch.bool or counts.is_complex():
        raise TypeError(f"{name}: expected counts as integers or floating point, got {counts.dtype}")
    if counts.ndim != 1 or counts.numel() == 0:
        raise ValueError(f"{name}: expected counts of shape (K,) with K >= 1, got {checks.shape_of(counts)}")
    # On the host: not every device has float64.
    n = np.array(counts.tolist(), dtype=np.float64)
    wrong = ~((n >= 0) & (n < math.inf))
    if wrong.any():
        raise ValueError(f"{name}: expected finite counts >= 0, got {float(n[wrong][0]):g}")
    if not n.any():
        raise ValueError(f"{name}: expected a class that occurs, got counts that are all 0")
    if beta is not None:
        if method != "effective_number":
            raise ValueError(f"{name}: expected beta with method 'effective_number' only, got it with {method!r}")
        checks.check_number(name, "beta", beta, at_least=0.0)
        if beta >= 1:
            raise ValueError(f"{name}: expected beta below 1, got {beta:g}")
    elif method == "effective_number" and float(n[n > 0].mean()) < 1:
        raise ValueError(
            f"{name}: expected counts, not shares, for 'effective_number', got a mean of {n[n > 0].mean():g}"
        )
    return n
