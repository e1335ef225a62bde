"""Values against the oracle, and against a file of expected values where DEPTHATTN_GOLDEN names one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import oracle
from tests.ops.cases import LABELS, MASK, SIZE, TARGET, blocks_of_labels, depth, labels_for, random
from torch import Tensor

from depthattn import functional as F

REDUCTIONS = ("mean", "per_image", "sum", "none")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-5}


def assert_matches(ours: Tensor, wanted: object) -> None:
    expected = torch.tensor(np.asarray(wanted), dtype=torch.float64)
    bound = BOUNDS[ours.dtype]
    torch.testing.assert_close(ours.double(), expected, rtol=bound, atol=bound)


EDGES = (
    torch.tensor([[[1.0, 1.0, 0.5, 0.9, 0.0, -2.0, 0.71], [1.01, 3.0, 0.5, 12.0, 1e-8, 5.0, 50.0]]]).double(),
    torch.tensor([[[1.0, 0.5, 2.0, 0.5, 3.0, 3.0, 10.0], [1.02, 3.0, 0.5, 1.0, 5.0, 1e-8, 20.0]]]).double(),
)
DEPTH_PAIRS = {"room": (depth(*SIZE, seed=1), TARGET), "edges": EDGES}
DEPTH_OPTIONS: list[dict[str, Any]] = [
    {},
    {"distance": "l1"},
    {"distance": "l2"},
    {"distance": "berhu"},
    {"beta": 0.3},
    {"max_depth": 10.0},
    {"max_depth": 2.0},
    {"log_offset": 0.0},
    {"log_offset": 0.0, "max_depth": 10.0, "distance": "l1"},
    {"log_offset": 3.0},
]


@DTYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pair", DEPTH_PAIRS)
@pytest.mark.parametrize("options", DEPTH_OPTIONS, ids=str)
def test_depth_aware_loss(pair: str, options: dict[str, Any], reduction: str, dtype: torch.dtype) -> None:
    pred, target = (x.to(dtype) for x in DEPTH_PAIRS[pair])
    mask = MASK if pair == "room" else None
    ours = F.depth_aware_loss(pred, target, mask=mask, reduction=reduction, **options)
    values, valid = oracle.depth_aware(
        pred.numpy().astype(float), target.numpy().astype(float), None if mask is None else mask.numpy(), **options
    )
    assert_matches(ours, oracle.reduced(values, valid, reduction))


@DTYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", ["none", "labels", "map"])
def test_joint_gradient_loss(kind: str, reduction: str, dtype: torch.dtype) -> None:
    pred, target = depth(*SIZE, seed=1).to(dtype), TARGET.to(dtype)
    semantics = None
    if kind == "labels":
        semantics = LABELS
    elif kind == "map":
        semantics = depth(*SIZE, seed=4).to(dtype)
        semantics[0, 4, 4] = torch.nan
    given = {"labels" if kind == "labels" else "semantics": semantics}
    ours = F.joint_gradient_loss(pred, target, MASK, **given, semantic_weight=0.7, reduction=reduction)
    arrays = [x.numpy() if x is not None else None for x in (pred, target, semantics, MASK)]
    depth_values, depth_windows, semantic_values, semantic_windows = oracle.joint_gradient(*arrays)
    expected = oracle.reduced(depth_values, depth_windows, reduction) + 0.7 * oracle.reduced(
        semantic_values, semantic_windows, reduction
    )
    assert_matches(ours, expected)


@DTYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("normalize_by", ["pixels", "weight"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 2)], ids=["1d", "2d", "3d"])
def test_semantic_focal_loss(
    shape: tuple[int, ...], gamma: float, normalize_by: str, reduction: str, dtype: torch.dtype
) -> None:
    logits = random(2, 5, *shape, seed=3, low=-4, high=4).to(dtype)
    target = labels_for(2, *shape, classes=5)
    weight = random(5, seed=4, low=0.1, high=2).to(dtype)
    ours = F.semantic_focal_loss(
        logits, target, weight=weight, gamma=gamma, normalize_by=normalize_by, reduction=reduction
    )
    values, valid, weights = oracle.semantic_focal(logits.numpy(), target.numpy(), weight.numpy(), gamma)
    assert_matches(ours, oracle.reduced(values, valid if normalize_by == "pixels" else weights, reduction))


@DTYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", [(8, 10), (7, 3), (4, 5), (2, 2)], ids=str)
def test_semantic_focal_loss_on_small_logits(size: tuple[int, int], reduction: str, dtype: torch.dtype) -> None:
    logits = random(2, 5, 4, 5, seed=3, low=-4, high=4).to(dtype)
    target = labels_for(2, *size, classes=5)
    ours = F.semantic_focal_loss(logits, target, upsample="bilinear", reduction=reduction)
    large = oracle.resize(logits.numpy().astype(float), size)
    values, valid, _ = oracle.semantic_focal(large, target.numpy())
    assert_matches(ours, oracle.reduced(values, valid, reduction))


@DTYPES
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_lateral_sharing(tasks: int, per_channel: bool, dtype: torch.dtype) -> None:
    features = [random(2, 3, 4, 5, seed=t, low=-1).to(dtype) for t in range(tasks)]
    gates = random(tasks, tasks, *([3] if per_channel else []), seed=50, low=-2).to(dtype)
    wanted = oracle.lateral_sharing([x.numpy() for x in features], gates.numpy())
    for ours, expected in zip(F.lateral_sharing(features, gates), wanted, strict=True):
        assert_matches(ours, expected)


@DTYPES
def test_semi_dense_up_skip(dtype: torch.dtype) -> None:
    sizes = ((1, 1), (2, 3), (5, 4), (8, 9), (11, 6))
    features = [random(2, 3, *size, seed=j, low=-1).to(dtype) for j, size in enumerate(sizes)]
    assert_matches(
        F.semi_dense_up_skip(features, (8, 9)), oracle.semi_dense_up_skip([x.numpy() for x in features], (8, 9))
    )


@DTYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", [(4, 5), (3, 11), (13, 7)], ids=str)
def test_depth_losses_on_a_prediction_of_another_size(
    size: tuple[int, int], reduction: str, dtype: torch.dtype
) -> None:
    small = depth(2, *size, seed=1).to(dtype)
    target = TARGET.to(dtype)
    large = oracle.resize(small.numpy().astype(float)[:, None], SIZE[1:])[:, 0]
    values, valid = oracle.depth_aware(large, target.numpy().astype(float), MASK.numpy())
    ours = F.depth_aware_loss(small, target, mask=MASK, upsample="bilinear", reduction=reduction)
    assert_matches(ours, oracle.reduced(values, valid, reduction))
    values, windows, semantic_values, semantic_windows = oracle.joint_gradient(
        large, target.numpy(), LABELS.numpy(), MASK.numpy()
    )
    wanted = oracle.reduced(values, windows, reduction) + oracle.reduced(semantic_values, semantic_windows, reduction)
    ours = F.joint_gradient_loss(small, target, MASK, labels=LABELS, upsample="bilinear", reduction=reduction)
    assert_matches(ours, wanted)


def test_the_gradient_of_a_prediction_of_another_size() -> None:
    def loss(small: Tensor) -> Tensor:
        aware = F.depth_aware_loss(small, TARGET, upsample="bilinear", reduction="per_image")
        return aware + F.joint_gradient_loss(small, TARGET, labels=LABELS, upsample="bilinear", reduction="per_image")

    small = depth(2, 4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, small)
    assert torch.autograd.gradgradcheck(loss, small)


def test_class_windows_do_not_depend_on_the_numbering() -> None:
    pred, target = depth(*SIZE, seed=1), TARGET
    renamed = torch.where(LABELS == 3, 38, LABELS)
    assert torch.equal(
        F.joint_gradient_loss(pred, target, labels=LABELS), F.joint_gradient_loss(pred, target, labels=renamed)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (5, 2)], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_image_smaller_than_the_window_has_none(shape: tuple[int, int], reduction: str) -> None:
    pred = depth(1, *shape, seed=1).requires_grad_()
    labels = blocks_of_labels(1, *shape)
    loss = F.joint_gradient_loss(pred, depth(1, *shape, seed=2), labels=labels, reduction=reduction)
    assert torch.equal(loss, torch.zeros_like(loss))
    assert loss.shape == {"per_image": (1,), "none": (1, *shape)}.get(reduction, ())
    loss.sum().backward()
    assert torch.equal(pred.grad, torch.zeros_like(pred))


GOLDEN = os.environ.get("DEPTHATTN_GOLDEN")

if GOLDEN:
    golden_cases = json.loads(Path(GOLDEN).read_text())["cases"]

    def tensor(value: Any, dtype: torch.dtype) -> Tensor:
        return torch.tensor(np.array(value, dtype=float), dtype=dtype)

    @DTYPES
    @pytest.mark.parametrize("case", golden_cases, ids=lambda case: f"{case['op']}-{case['name']}")
    def test_golden_file(case: dict[str, Any], dtype: torch.dtype) -> None:
        if case["op"] == "lateral_sharing":
            features = [tensor(x, dtype) for x in case["features"]]
            assert_matches(torch.stack(F.lateral_sharing(features, tensor(case["gates"], dtype))), case["expected"])
            return
        if case["op"] == "semi_dense_up_skip":
            features = [tensor(x, dtype) for x in case["features"]]
            assert_matches(F.semi_dense_up_skip(features, case["size"]), case["expected"])
            return
        options = dict(case["options"])
        if case["op"] == "semantic_focal_loss":
            options["weight"] = None if options["weight"] is None else tensor(options["weight"], dtype)
            arguments = [tensor(case["logits"], dtype), tensor(case["target"], torch.int64)]
        else:
            arguments = [tensor(case["pred"], dtype), tensor(case["target"], dtype)]
        if case.get("semantics_kind") == "labels":
            options["labels"] = tensor(case["semantics"], torch.int64)
        elif case.get("semantics_kind"):
            options["semantics"] = tensor(case["semantics"], dtype)
        for name, expected in case["expected"].items():
            extra = {"normalize_by": "weight"} if name == "mean_by_weight" else {}
            reduction = "mean" if name == "mean_by_weight" else name
            ours = getattr(F, case["op"])(*arguments, reduction=reduction, **options, **extra)
            assert_matches(ours, np.array(expected, dtype=float))
