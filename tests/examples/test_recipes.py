"""The plain loop follows the formulas, and every other recipe the plain loop."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import oracle
from torch import Tensor, nn

import checkpointing
import compiled_step
import ingredients
import mixed_precision
import plain_loop
import relative_depth

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (ROOT / "examples" / "recipes").glob("*.py"))
STEPS = 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The same arithmetic in the same order on a CPU; the convolutions of a GPU have shorter mantissas and any order.
SAME, ROUNDING = (0.0, 1e-5) if DEVICE == "cpu" else (1e-3, 1e-3)


@pytest.fixture(scope="module")
def plain() -> list[float]:
    return plain_loop.main(STEPS)


def recipe(name: str, package: str) -> ModuleType:
    pytest.importorskip(package)
    return importlib.import_module(name)


def first_batch() -> dict[str, Tensor]:
    return {name: value.to(DEVICE) for name, value in next(iter(ingredients.room_batches(1))).items()}


def by_hand(depth: Tensor, logits: Tensor, batch: dict[str, Tensor]) -> float:
    """The total loss of one batch, pixel by pixel in NumPy."""
    labels = batch["labels"].cpu().numpy()
    full = F.interpolate(logits.detach().double(), labels.shape[1:], mode="bilinear", align_corners=False)
    focal, labelled, _ = oracle.semantic_focal(full.cpu().numpy(), labels)
    return depth_by_hand(depth, batch) + float(focal.sum() / labelled.sum())


def depth_by_hand(depth: Tensor, batch: dict[str, Tensor]) -> float:
    pred, target = (maps.detach().double().squeeze(1).cpu().numpy() for maps in (depth, batch["depth"]))
    values, valid = oracle.depth_aware(pred, target, max_depth=10.0)
    terms, windows, *_ = oracle.joint_gradient(pred, target)
    return float(values.sum() / valid.sum() + 0.05 * terms.sum() / windows.sum())


def test_the_plain_loop_takes_the_loss_of_the_formulas_and_lowers_it() -> None:
    losses, batch = plain_loop.main(12), first_batch()
    torch.manual_seed(0)
    network = ingredients.SmallNet().to(DEVICE)
    assert losses[0] == pytest.approx(by_hand(*network(batch["image"]), batch), rel=ROUNDING)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_accelerate_takes_the_same_steps(plain: list[float]) -> None:
    with_accelerate = recipe("with_accelerate", "accelerate")
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    assert with_accelerate.main(STEPS) == pytest.approx(plain, rel=SAME, abs=0)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec:FutureWarning")
def test_lightning_takes_the_same_steps_and_scores_unseen_rooms(plain: list[float]) -> None:
    model, scores = recipe("with_lightning", "lightning").main(STEPS)
    assert [float(loss) for loss in model.losses] == pytest.approx(plain, rel=SAME, abs=0)
    unseen = list(ingredients.room_batches(2, seed=1))
    depth = torch.cat([model.network.cpu()(batch["image"])[0].detach() for batch in unseen]).double()
    target = torch.cat([batch["depth"] for batch in unseen]).double()
    images = [((d - t).abs() / t)[t > 0].mean() for d, t in zip(depth, target, strict=True)]
    assert scores["abs_rel"] == pytest.approx(float(torch.stack(images).mean()), rel=1e-5)


def test_kornia_without_a_turn_is_the_plain_loop(plain: list[float]) -> None:
    with_kornia = recipe("with_kornia", "kornia")
    assert with_kornia.main(STEPS, degrees=0.0, flipped=0.0) == pytest.approx(plain, rel=1e-3)


def test_kornia_turns_image_depth_and_labels_together() -> None:
    with_kornia = recipe("with_kornia", "kornia")
    image, depth = torch.rand(2, 3, 9, 9), torch.rand(2, 1, 9, 9) + 0.5
    labels = torch.randint(14, (2, 9, 9))
    labels[:, 4, 2] = -100
    batch = {"image": image, "depth": depth, "labels": labels}
    turned = with_kornia.RotateAndFlip((90.0, 90.0), flipped=1.0)(batch)
    for name, before in batch.items():
        torch.testing.assert_close(turned[name], before.rot90(1, (-2, -1)).flip(-1), rtol=0, atol=1e-5)


def test_what_kornia_turns_in_from_outside_never_counts() -> None:
    with_kornia = recipe("with_kornia", "kornia")
    full = torch.full((2, 1, 24, 24), 2.0)
    batch = {"image": torch.rand(2, 3, 24, 24), "depth": full, "labels": torch.zeros(2, 24, 24).long()}
    turned = with_kornia.RotateAndFlip((45.0, 45.0), flipped=0.5)(batch)
    depth, labels = turned["depth"], turned["labels"]
    across = (torch.arange(24) - 11.5).abs()
    # Turned by 45 degrees, a square covers the points within |x| + |y| <= half its diagonal; its edge may round.
    reach = (across[:, None] + across).expand(2, 24, 24)
    assert torch.equal(depth.squeeze(1) == 0, labels == -100)
    assert bool((labels[reach > 12 * 2**0.5 + 1] == -100).all())
    assert bool((labels[reach < 12 * 2**0.5 - 1] == 0).all())
    prediction = torch.full_like(depth, 3.0, requires_grad=True)
    logits = torch.zeros(2, ingredients.CLASSES, 24, 24, requires_grad=True)
    ingredients.attention_loss()(prediction, logits, depth, labels).total.backward()
    assert prediction.grad is not None
    assert logits.grad is not None
    assert float(logits.grad.abs().amax(1)[labels == -100].sum()) == 0.0
    assert bool((logits.grad.abs().amax(1)[labels == 0] > 0).all())
    assert float(prediction.grad.squeeze(1)[labels == -100].abs().sum()) == 0.0


def test_a_model_of_transformers_gets_the_loss_of_the_formulas() -> None:
    with_transformers = recipe("with_transformers", "transformers")
    losses, batch = with_transformers.main(12), first_batch()
    torch.manual_seed(0)
    model = with_transformers.small_model().to(DEVICE).train()
    depth = model(pixel_values=batch["image"]).predicted_depth.unsqueeze(1)
    depth = F.interpolate(depth.double(), batch["image"].shape[2:], mode="bilinear", align_corners=False)
    assert losses[0] == pytest.approx(depth_by_hand(depth, batch), rel=ROUNDING)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_relative_depth_takes_the_loss_after_the_best_scale_and_shift() -> None:
    losses, abs_rel = relative_depth.main(12)
    batch = first_batch()
    torch.manual_seed(0)
    prediction, _ = ingredients.SmallNet().to(DEVICE)(batch["image"])
    depth, prediction = (maps.detach().double().squeeze(1).cpu().numpy() for maps in (batch["depth"], prediction))
    known = depth > 0
    target = np.divide(1, depth, out=np.zeros_like(depth), where=known)
    aligned = np.stack([np.polyval(np.polyfit(p[k], t[k], 1), p)
                        for p, t, k in zip(prediction, target, known, strict=True)])  # fmt: skip
    terms, windows, *_ = oracle.joint_gradient(aligned, target)
    expected = np.abs(aligned - target)[known].mean() + 0.1 * terms.sum() / windows.sum()
    assert losses[0] == pytest.approx(expected, rel=max(ROUNDING, 1e-4))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert 0.05 < abs_rel < 0.6


def test_a_compiled_step_is_that_of_the_plain_loop(plain: list[float]) -> None:
    torch._dynamo.reset()
    # The graphs as they are, without the minute that inductor takes to compile them.
    assert compiled_step.main(STEPS, backend="aot_eager") == pytest.approx(plain, rel=ROUNDING)


def test_checkpointing_keeps_less_and_changes_nothing(plain: list[float]) -> None:
    losses, kept = checkpointing.main(STEPS)
    unchanged, all_kept = checkpointing.main(STEPS, checkpointed=False)
    assert losses == pytest.approx(plain, rel=SAME, abs=0)
    assert unchanged == pytest.approx(plain, rel=SAME, abs=0)
    # Of four images at half size, the 16 channels between the encoder's convolutions, in float32.
    assert all_kept - kept == 4 * (16 * 32) * 16 * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_mixed_precision_the_loss_adds_no_error_to_the_network_s(dtype: torch.dtype) -> None:
    losses, batch = mixed_precision.main(1, dtype), first_batch()
    torch.manual_seed(0)
    network = ingredients.SmallNet().to(DEVICE)
    with torch.autocast(DEVICE, dtype=dtype):
        depth, logits = network(batch["image"])
    assert losses[0] == pytest.approx(by_hand(depth, logits, batch), rel=1e-5)

    network, image = network.cpu(), batch["image"].cpu()
    for half, full, bound in zip((depth, logits), network(image), rounding_bounds(network, image, dtype), strict=True):
        error = (half.cpu().float() - full).abs()
        assert bool((error <= bound).all())
        assert bool((error > 0).any())


def rounding_bounds(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """How far both outputs may be from float32's: a convolution rounds input, weights and result."""
    unit = 0.53 * torch.finfo(dtype).eps  # half a step, and a little for sums in float32

    def rounded(value: Tensor, error: Tensor) -> Tensor:
        return error + unit * (value.abs() + error)

    def convolved(conv: nn.Conv2d, x: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        def with_weights(y: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv2d(y, conv.weight.abs(), bias, conv.stride, conv.padding)

        weights_rounded = unit * with_weights(x.abs() + error, conv.bias.abs())
        result = conv(x)
        return result, rounded(result, with_weights(error, None) + weights_rounded)

    x, error = image, unit * image
    for conv in (network.encoder[0], network.encoder[2]):
        x, error = convolved(conv, x, error)
        x = x.relu()
    _, logits_error = convolved(network.labels, x, error)
    z, error = convolved(network.depth, x, error)
    # Softplus and an average of pixels bring no value further from another than it was; each step rounds once more.
    for value in (z + 2.0, F.softplus(z + 2.0)):
        error = rounded(value, error)
    enlarged = [F.interpolate(y, image.shape[2:], mode="bilinear") for y in (F.softplus(z + 2.0), error)]
    return rounded(*enlarged), logits_error


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("with_")])
def test_without_its_package_a_recipe_ends_in_a_line_that_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = name.removeprefix("with_")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit, match=rf'^[^\n]*{package}[^\n]*"\.\[recipes\]"$'):
        importlib.import_module(name)


def test_every_recipe_is_shown_whole_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "recipes").glob("*.md"))
    whole = r"^```\{literalinclude\} \.\./\.\./examples/recipes/(\w+)\.py\n:language: python\n```$"
    shown = re.findall(whole, pages, re.MULTILINE)
    assert sorted(shown) == RECIPES
