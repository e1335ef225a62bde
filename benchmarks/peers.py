"""What a user would pick instead: torch's own functions, kornia, MONAI and, on CUDA, Liger-Kernel.

Each function builds a side and imports its package only then. A peer whose definition differs from ours is checked
against its own, given here by the functions that end in ``_expected``.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import formulas
from benchmarks.inputs import IGNORE_INDEX, NUM_CLASSES, Inputs, Tensors
from benchmarks.measure import Outcome, Run
from depthattn._extras import require

Result = tuple[Tensor, ...]

SMOOTH_L1 = "smooth L1 alone, over all pixels: no attention weight, no holes"
CROSS_ENTROPY = "cross entropy, that is gamma = 0: no focusing term"


def cross_entropy() -> Run:
    def run(t: Tensors) -> Result:
        return (F.cross_entropy(formulas.upsampled(t), t["labels"], ignore_index=IGNORE_INDEX),)

    return run


def cross_entropy_expected(inputs: Inputs) -> Outcome:
    def run(t: Tensors) -> Result:
        return (formulas.focal_sum(t, gamma=0.0) / t["labels"].ne(IGNORE_INDEX).sum(),)

    return formulas.expected(run, inputs)


def focal_on_cross_entropy() -> Run:
    """The focal loss as it is usually pasted: cross entropy per pixel, p = exp(-ce), weight, mean."""

    def run(t: Tensors) -> Result:
        labels = t["labels"]
        ce = F.cross_entropy(formulas.upsampled(t), labels, ignore_index=IGNORE_INDEX, reduction="none")
        focal = (1 - torch.exp(-ce)) ** formulas.GAMMA * ce
        return (focal.sum() / labels.ne(IGNORE_INDEX).sum(),)

    return run


def kornia_focal() -> Run:
    losses = require("kornia.losses", extra="bench", purpose="the kornia side")

    def run(t: Tensors) -> Result:
        focal = partial(losses.focal_loss, alpha=None, gamma=formulas.GAMMA, reduction="mean")
        return (focal(t["logits"], t["labels"], ignore_index=IGNORE_INDEX),)

    return run


def kornia_focal_expected(inputs: Inputs) -> Outcome:
    def run(t: Tensors) -> Result:
        return (formulas.focal_sum(t) / t["logits"].numel(),)

    return formulas.expected(run, inputs)


def monai_focal() -> Run:
    losses = require("monai.losses", extra="bench", purpose="the MONAI side")
    loss = losses.FocalLoss(
        to_onehot_y=True, gamma=formulas.GAMMA, use_softmax=True, ignore_index=IGNORE_INDEX, reduction="mean"
    )

    def run(t: Tensors) -> Result:
        return (loss(t["logits"], t["labels"].unsqueeze(1)),)

    return run


def liger_cross_entropy() -> Run:
    transformers = require("liger_kernel.transformers", extra="bench", purpose="the Liger-Kernel side")
    loss = transformers.LigerCrossEntropyLoss(ignore_index=IGNORE_INDEX)

    def run(t: Tensors) -> Result:
        # It takes rows of logits and overwrites them by their gradient: the copy to rows is part of its price here.
        rows = t["logits"].permute(0, 2, 3, 1).reshape(-1, NUM_CLASSES)
        return (loss(rows, t["labels"].flatten()),)

    return run


def smooth_l1() -> Run:
    return lambda t: (F.smooth_l1_loss(t["pred"], t["target"]),)


def smooth_l1_expected(inputs: Inputs) -> Outcome:
    return formulas.expected(smooth_l1(), inputs)


def kornia_sobel() -> Run:
    filters = require("kornia.filters", extra="bench", purpose="the kornia side")

    def sobel_l1(x: Tensor, windows: Tensor) -> Tensor:
        gradient = filters.spatial_gradient(x.unsqueeze(1), mode="sobel", order=1, normalized=False)
        size = gradient.squeeze(1).abs().sum(1)
        # Its border is padded; the loss is defined on whole windows.
        return torch.where(windows, size[:, 1:-1, 1:-1], 0)

    def run(t: Tensors) -> Result:
        pred, target = t["pred"].float(), t["target"].float()
        windows = formulas.full_windows(formulas.valid_depth(target))
        depth = sobel_l1(pred - target, windows).sum() / windows.sum()
        if "semantics" in t:
            windows, difference = formulas.full_windows(t["semantics"].isfinite()), pred - t["semantics"]
        else:
            windows, difference = formulas.class_windows(t["labels"]), pred
        return (depth + sobel_l1(difference, windows).sum() / windows.sum(),)

    return run


def sharing_by_einsum() -> Run:
    def run(t: Tensors) -> Result:
        stacked = torch.stack(formulas.features_of(t))
        gates = t["gates"].to(stacked.dtype)
        eye = torch.eye(len(stacked), dtype=stacked.dtype, device=stacked.device)
        return tuple(torch.einsum("tu,ubchw->tbchw", eye + gates, stacked))

    return run
