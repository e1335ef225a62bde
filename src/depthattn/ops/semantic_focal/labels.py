"""Labels as classes: the one place that says which of them count and which are wrong, for the paths in tensor code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from depthattn.ops.validation import validates

# Not by `register`: labels have no derivatives, and every transform of torch.func has to look at them as they are.
_library = torch.library.Library("depthattn", "FRAGMENT")


def classes_of(target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """The class of each label as int64, -1 where it does not count; a wrong label raises where labels are checked."""
    classes: Tensor = torch.ops.depthattn.checked_labels(target, num_classes, ignore_index)
    return classes


def check_labels(target: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raise at a wrong label where labels are checked, for kernels that take it as ignored."""
    if validates(target.device) and target.device.type != "meta":
        classes_of(target, num_classes, ignore_index)


def refuse(label: int, num_classes: int, ignore_index: int) -> None:
    raise ValueError(
        f"semantic_focal_loss: expected labels in [0, {num_classes}) or ignore_index = {ignore_index}, got {label}"
    )


def _checked_labels(target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    # Compared as 64-bit integers: a narrower dtype may not hold the other side.
    labels = target.long()
    known = (labels >= 0) & (labels < num_classes)
    ignored = labels == ignore_index
    if validates(target.device):
        wrong = ~(known | ignored)
        if wrong.any():
            refuse(int(labels[wrong][0]), num_classes, ignore_index)
    return torch.where(known & ~ignored, labels, -1)


def _batched(info: Any, in_dims: tuple[Any, ...], target: Tensor, *numbers: int) -> tuple[Tensor, Any]:
    return classes_of(target, *numbers), in_dims[0]


_library.define("checked_labels(Tensor target, SymInt num_classes, int ignore_index) -> Tensor")
_library.impl("checked_labels", _checked_labels, "CompositeExplicitAutograd")
torch.library.register_fake(
    "depthattn::checked_labels",
    lambda target, num_classes, ignore_index: torch.empty_like(target, dtype=torch.int64),
    lib=_library,
)
torch.library.register_vmap("depthattn::checked_labels", _batched, lib=_library)
