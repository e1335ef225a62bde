"""The losses as modules: the functional's options under the functional's names, kept, shown, copied and pickled."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from tests.ops.cases import LABELS, MASK, SIZE, TARGET, depth, labels_for, random
from torch import Tensor, nn

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss
from depthattn import functional as F

PRED = depth(*SIZE, seed=1)
LOGITS, CLASSES, WEIGHT = random(2, 5, 4, 5, seed=3), labels_for(2, 4, 5, classes=5), random(5, seed=4)

DEPTH_OPTIONS = {"distance": "l1", "beta": 0.5, "max_depth": 10.0, "log_offset": 0.0, "detach_weight": True}
GRADIENT_OPTIONS = {"semantic_weight": 0.25, "ignore_index": 3}
FOCAL_OPTIONS = {"gamma": 1.5, "normalize_by": "weight"}

MODULES: dict[str, tuple[nn.Module, Tensor, tuple[Tensor, ...], dict[str, Tensor]]] = {
    "depth_aware": (
        DepthAwareLoss(**DEPTH_OPTIONS, reduction="per_image"),
        F.depth_aware_loss(PRED, TARGET, mask=MASK, **DEPTH_OPTIONS, reduction="per_image"),
        (PRED, TARGET, MASK),
        {},
    ),
    "joint_gradient": (
        JointGradientLoss(**GRADIENT_OPTIONS, reduction="sum"),
        F.joint_gradient_loss(PRED, TARGET, MASK, labels=LABELS, **GRADIENT_OPTIONS, reduction="sum"),
        (PRED, TARGET, MASK),
        {"labels": LABELS},
    ),
    "semantic_focal": (
        SemanticFocalLoss(WEIGHT, **FOCAL_OPTIONS),
        F.semantic_focal_loss(LOGITS, CLASSES, weight=WEIGHT, **FOCAL_OPTIONS),
        (LOGITS, CLASSES),
        {},
    ),
}
FUNCTIONS = {
    DepthAwareLoss: F.depth_aware_loss,
    JointGradientLoss: F.joint_gradient_loss,
    SemanticFocalLoss: F.semantic_focal_loss,
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_its_function_with_the_options_kept(name: str) -> None:
    module, wanted, arguments, keywords = MODULES[name]
    assert torch.equal(module(*arguments, **keywords), wanted)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(*arguments, **keywords), wanted)
        assert repr(twin) == repr(module)


@pytest.mark.parametrize("module", FUNCTIONS, ids=lambda m: m.__name__)
def test_names_and_defaults_are_those_of_the_function(module: type[nn.Module]) -> None:
    given = {p.name: p.default for p in inspect.signature(FUNCTIONS[module]).parameters.values()}
    kept = {p.name: p.default for p in list(inspect.signature(module).parameters.values())}
    assert kept == {name: given[name] for name in kept}
    called = set(inspect.signature(module.forward).parameters) - {"self"}
    assert called | set(kept) == set(given)


def test_repr_names_every_option() -> None:
    assert repr(MODULES["depth_aware"][0]) == (
        "DepthAwareLoss(distance='l1', beta=0.5, max_depth=10.0, log_offset=0, detach_weight=True, "
        "upsample=None, align_corners=False, reduction='per_image')"
    )
    assert repr(MODULES["joint_gradient"][0]) == (
        "JointGradientLoss(semantic_weight=0.25, ignore_index=3, upsample=None, align_corners=False, reduction='sum')"
    )
    assert repr(MODULES["semantic_focal"][0]) == (
        "SemanticFocalLoss(weight=(5,), gamma=1.5, ignore_index=-100, normalize_by='weight', upsample=None, "
        "align_corners=False, reduction='mean')"
    )


def test_the_class_weight_is_a_buffer() -> None:
    loss = SemanticFocalLoss(torch.tensor([1.0, 2.0]))
    assert loss.to(torch.float64).weight.dtype == torch.float64
    other = SemanticFocalLoss(torch.zeros(2))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.weight, torch.tensor([1.0, 2.0]))
    assert not list(loss.parameters())


def test_cross_entropy_is_the_special_case_gamma_0_by_weight() -> None:
    weight = WEIGHT + 0.1
    x = LOGITS.clone().requires_grad_()
    ours = SemanticFocalLoss(weight, gamma=0.0, normalize_by="weight")(x, CLASSES)
    theirs = nn.functional.cross_entropy(x, CLASSES, weight=weight)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, x)[0], torch.autograd.grad(theirs, x)[0])


@pytest.mark.parametrize("name", MODULES)
def test_one_step_of_a_graph_that_torch_fx_draws(name: str) -> None:
    module, wanted, inputs, others = MODULES[name]
    traced = torch.fx.symbolic_trace(module)
    assert len(list(traced.graph.find_nodes(op="call_function", target=FUNCTIONS[type(module)]))) == 1
    torch.testing.assert_close(traced(*inputs, **others), wanted)


@pytest.mark.parametrize("weights", [(1.0, 0.05, 2.0), "learned"])
def test_the_attention_driven_loss_in_a_graph_that_torch_fx_draws(weights: tuple[float, ...] | str) -> None:
    module = AttentionDrivenLoss(weights=weights)
    logits = random(2, 5, 9, 11, seed=3)
    wanted = module(PRED, logits, TARGET, LABELS, MASK)
    traced = torch.fx.symbolic_trace(module)
    torch.testing.assert_close(tuple(traced(PRED, logits, TARGET, LABELS, MASK)), tuple(wanted))
