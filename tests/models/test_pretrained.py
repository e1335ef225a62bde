"""A model as a folder: the same outputs after a round trip, and one clear line for every folder that does not load."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from depthattn import SynergyNet

CLASSES = ("floor", "wall", "night stand")


class Stem(nn.Module):
    """An encoder that is quick to build."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=8, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x)]


def small(**options: Any) -> SynergyNet:
    return SynergyNet(Stem(), 3, **{"decoder_channels": (8, 4), **options})


def trained(model: SynergyNet) -> SynergyNet:
    """Every tensor away from where a new model has it, counters of batches included."""
    generator = torch.Generator().manual_seed(1)
    for tensor in model.state_dict().values():
        noise = torch.rand(tensor.shape, generator=generator)
        tensor.copy_(tensor + (0.02 * (noise - 0.5) if tensor.is_floating_point() else 3))
    return model.eval()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model whose encoder has a name; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    torch.manual_seed(0)
    trained(SynergyNet("resnet18", 3, decoder_channels=(8, 4), sharing="channel")).save_pretrained(
        folder, class_names=CLASSES, image_size=(96, 128), notes="Seed 3 of 5; rms 0.512 m."
    )
    return folder


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """One whose encoder was a module, to damage."""
    trained(small()).save_pretrained(tmp_path / "unnamed")
    return tmp_path / "unnamed"


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        os.link(file, to / file.name)
    return to


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.unlink()
    path.write_text(json.dumps(config))


def vouch_for_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(folder / "config.json", lambda config: config.update(weights=facts))


def test_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained(SynergyNet("resnet18", 3, decoder_channels=(8, 4), sharing=None, up_skip=False))
    model.train().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "a" / "model", class_names=list(CLASSES), image_size=(64, 96))
    assert model.training
    assert sorted(os.listdir(tmp_path / "a")) == ["model"]
    assert sorted(os.listdir(tmp_path / "a" / "model")) == ["README.md", "config.json", "model.safetensors"]
    again = SynergyNet.from_pretrained(str(tmp_path / "a" / "model"))
    assert not again.training
    assert (again.config, again.class_names, again.image_size) == (model.config, CLASSES, (64, 96))
    assert list(again.state_dict()) == list(before)
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name
    image = torch.rand(2, 3, 64, 96)
    for ours, theirs in zip(again(image), model.eval()(image), strict=True):
        torch.testing.assert_close(ours, theirs)
    # What the model knows of itself is saved with it again.
    again.save_pretrained(tmp_path / "b")
    assert (tmp_path / "b" / "config.json").read_bytes() == (tmp_path / "a" / "model" / "config.json").read_bytes()


def test_a_module_as_encoder_is_passed_again(tmp_path: Path) -> None:
    model = trained(small())
    model.save_pretrained(tmp_path)
    again = SynergyNet.from_pretrained(tmp_path, encoder=Stem())
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(again(image).depth, model(image).depth)
    assert again.class_names == ()
    assert again.image_size is None
    with pytest.raises(
        ValueError, match=r"was saved from an encoder given as a module.* pass such a module as encoder="
    ):
        SynergyNet.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"got 11 mismatched: encoder.module.conv.weight \(8, 3, 3, 3\) for \(12, 3"):
        SynergyNet.from_pretrained(tmp_path, encoder=Stem(12))
    with pytest.raises(TypeError, match="expected encoder as a Module, got str"):
        SynergyNet.from_pretrained(tmp_path, encoder="resnet18")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["output_stride", "encoder_skips"])
def test_folders_of_before_there_was_an_option(named: Path, tmp_path: Path, option: str) -> None:
    folder = copy_of(named, tmp_path / "model")
    rewrite(folder / "config.json", lambda config: config["model"].pop(option))
    again, expected = SynergyNet.from_pretrained(folder), SynergyNet.from_pretrained(named)
    assert again.config == expected.config
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(image).depth, expected(image).depth)


def test_an_encoder_of_another_stride_and_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained(SynergyNet("efficientnet_lite1", 3, decoder_channels=(8, 4), output_stride=16))
    model.save_pretrained(tmp_path)
    again = SynergyNet.from_pretrained(tmp_path)
    assert again.config == model.config
    image = torch.rand(1, 3, 65, 97)
    for ours, theirs in zip(again(image), model(image), strict=True):
        assert torch.equal(ours, theirs)


def test_half_precision_is_kept_to_the_bit_and_comes_back_as_float32(tmp_path: Path) -> None:
    model = trained(small()).bfloat16()
    model.save_pretrained(tmp_path)
    again = SynergyNet.from_pretrained(tmp_path, encoder=Stem())
    assert load_file(tmp_path / "model.safetensors")["neck.0.weight"].dtype == torch.bfloat16
    assert torch.equal(again.neck[0].weight, model.neck[0].weight.float())


def test_tied_weights(tmp_path: Path) -> None:
    class Tied(Stem):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(3, 8, 3)
            self.other.weight = self.conv.weight

    SynergyNet(Tied(), 3, decoder_channels=(4,)).save_pretrained(tmp_path)
    again = SynergyNet.from_pretrained(tmp_path, encoder=Tied())
    assert again.encoder.module.other.weight is again.encoder.module.conv.weight


def test_a_subclass_comes_back_as_itself(named: Path) -> None:
    class Ours(SynergyNet):
        pass

    assert type(Ours.from_pretrained(named)) is Ours


def test_the_card_says_what_is_known(named: Path, tmp_path: Path) -> None:
    card = (named / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: depthattn\n")
    assert "Seed 3 of 5; rms 0.512 m." in card
    assert "0 floor, 1 wall, 2 night stand" in card
    assert "| image size in training | 96 x 128 |" in card
    small().save_pretrained(tmp_path)
    plain = (tmp_path / "README.md").read_text()
    assert "| encoder | a module, Stem |" in plain
    assert "encoder=ENCODER" in plain
    assert "## Classes" not in plain
    assert "## Training" not in plain


def test_the_code_on_the_card_runs(named: Path) -> None:
    code = (named / "README.md").read_text().split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(code.replace("FOLDER OR HUB ID", str(named)), scope)
    assert scope["depth"].shape == (1, 1, 96, 128)
    assert scope["semantics"].shape == (1, 3, 96, 128)


def test_saving_again_replaces_our_files_and_keeps_others(tmp_path: Path) -> None:
    first, second = trained(small()), small()
    first.save_pretrained(tmp_path, notes="first")
    (tmp_path / "notes.txt").write_text("mine")
    second.save_pretrained(tmp_path, notes="second")
    assert sorted(os.listdir(tmp_path)) == ["README.md", "config.json", "model.safetensors", "notes.txt"]
    assert "second" in (tmp_path / "README.md").read_text()
    again = SynergyNet.from_pretrained(tmp_path, encoder=Stem())
    assert torch.equal(again.neck[0].weight, second.neck[0].weight)
    edited = (tmp_path / "README.md").read_text().replace("second", "second, on my own rooms")
    (tmp_path / "README.md").write_text(edited)
    first.save_pretrained(tmp_path, notes="third")
    assert (tmp_path / "README.md").read_text() == edited
    assert torch.equal(SynergyNet.from_pretrained(tmp_path, encoder=Stem()).neck[0].weight, first.neck[0].weight)


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    folder, model = tmp_path / "model", trained(small())
    if there:
        model.save_pretrained(folder)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        small().save_pretrained(folder)
    if not there:
        assert os.listdir(tmp_path) == []
        return
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert torch.equal(SynergyNet.from_pretrained(folder, encoder=Stem()).neck[0].weight, model.neck[0].weight)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"class_names": ("a", "b")}, "expected 3 class_names, one for each class, got 2"),
        ({"class_names": "abc"}, "expected class_names as strings of one line each"),
        ({"class_names": ("a", "b", "c\nd")}, "expected class_names as strings of one line each"),
        ({"class_names": ("a", "b", 3)}, "expected class_names as strings of one line each"),
        ({"image_size": (480,)}, r"expected size as \(H, W\)"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"SynergyNet.save_pretrained: {reason}"):
        small().save_pretrained(tmp_path / "model", **options)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder, got the file"):
        small().save_pretrained(tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"expected the model that was trained, got its optimize_for_inference\(\) copy"
    ):
        SynergyNet("resnet18", 3, decoder_channels=(4,)).optimize_for_inference().save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(named: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(named, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"SynergyNet.from_pretrained: expected .*model/{name}, .*got no such file"):
        SynergyNet.from_pretrained(folder)


def test_damaged_weights(unnamed: Path) -> None:
    weights = unnamed / "model.safetensors"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    for content in (whole[:-1], bytes(flipped), b""):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=f"got {len(content)} bytes of other content: damaged, or of another save"):
            SynergyNet.from_pretrained(unnamed, encoder=Stem())


def test_weights_of_another_network(unnamed: Path) -> None:
    tensors = load_file(unnamed / "model.safetensors")
    tensors["surplus"] = tensors.pop("neck.0.weight")
    save_file(tensors, unnamed / "model.safetensors")
    vouch_for_weights(unnamed)
    with pytest.raises(ValueError, match=r"got 1 missing: neck.0.weight; 1 unexpected: surplus"):
        SynergyNet.from_pretrained(unnamed, encoder=Stem())


def test_a_pickle_under_the_name_of_the_weights_is_not_executed(unnamed: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save(Trap(), unnamed / "model.safetensors")
    vouch_for_weights(unnamed)
    with pytest.raises(ValueError, match="expected a safetensors file, got"):
        SynergyNet.from_pretrained(unnamed, encoder=Stem())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(trust_remote_code=True), "expected the keys of save_pretrained, .*trust_remote_code"),
        (lambda c: c.pop("weights"), "expected the keys of save_pretrained"),
        (lambda c: c.update(format="depthattn.SynergyNet/9"), "expected format depthattn.SynergyNet/1 .*SynergyNet/9"),
        (lambda c: c["model"].update(encoder_weights="/etc/passwd"), "model: expected the keys .*'encoder_weights'"),
        (lambda c: c["model"].update(encoder="timm:hf-hub:a/b"), "expected the name of an encoder, got 'timm:hf-hub"),
        (lambda c: c["model"].update(encoder=["resnet18"]), "expected the name of an encoder"),
        (lambda c: c["model"].update(encoder="resnet19"), "expected encoder to be one of resnet18"),
        (
            lambda c: c["model"].update(num_classes="3"),
            "config.json: expected 3 class_names|expected num_classes as an int",
        ),
        (lambda c: c["model"].update(decoder_channels=7), "expected decoder_channels as a list, got 7"),
        (
            lambda c: c["model"].update(decoder_channels=[8, 10**6]),
            r"expected the weights of decoder_channels \[8, 1000000\] and 3 classes, got \d+",
        ),
        (lambda c: c["model"].update(decoder_channels=[8, -4]), "expected decoder_channels to be positive integers"),
        (lambda c: c["model"].update(sharing=["scalar"]), "expected sharing to be 'scalar', 'channel' or None"),
        (lambda c: c["model"].update(up_skip=1), "expected up_skip as a bool"),
        (lambda c: c["model"].update(num_classes=4, encoder="resnet18"), "expected 4 class_names"),
        (lambda c: c.update(class_names={"floor": 0}), "expected class_names as a list or null"),
        (lambda c: c.update(class_names=["a", "b", ""]), "expected class_names as strings of one line each"),
        (lambda c: c.update(image_size=[96, True]), r"expected image_size as \[H, W\] or null"),
        (lambda c: c.update(weights={"bytes": 3}), "weights: expected the keys of save_pretrained"),
        (lambda c: c["weights"].update(bytes="a\nb"), r"weights: expected bytes as a number, got 'a\\nb'"),
        (lambda c: c["model"].update(decoder_channels=[10**9, True]), "expected the weights of decoder_channels"),
    ],
)
def test_a_configuration_that_is_not_ours(
    named: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    folder = copy_of(named, tmp_path / "model")
    rewrite(folder / "config.json", change)
    with pytest.raises(ValueError, match=f"^SynergyNet.from_pretrained: .*({reason})"):
        SynergyNet.from_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "\udcff"])
def test_a_configuration_that_is_no_json_object(named: Path, tmp_path: Path, text: str) -> None:
    folder = copy_of(named, tmp_path / "model")
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"^SynergyNet.from_pretrained: .*config.json"):
        SynergyNet.from_pretrained(folder)


def test_an_encoder_for_a_model_that_has_its_own(named: Path) -> None:
    with pytest.raises(ValueError, match=r"expected no encoder, as .*config.json names its own, 'resnet18'"):
        SynergyNet.from_pretrained(named, encoder=Stem())


def test_a_hub_id_is_downloaded(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(repo_id: str, **options: Any) -> str:
        calls.append((repo_id, options))
        return str(named)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = SynergyNet.from_pretrained("somebody/synergynet-nyu", revision="v2")
    assert calls == [
        ("somebody/synergynet-nyu", {"revision": "v2", "allow_patterns": ["config.json", "model.safetensors"]})
    ]
    assert model.class_names == CLASSES


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="got 'runs/best': no such folder, and huggingface_hub says: "):
        SynergyNet.from_pretrained("runs/best")


def test_neither_a_folder_nor_a_hub_id(tmp_path: Path, named: Path) -> None:
    for source in (tmp_path / "none", "a/b/c", "none", "../none", named / "config.json"):
        with pytest.raises(ValueError, match=r"expected a folder or a hub id owner/name, got .*, which is neither"):
            SynergyNet.from_pretrained(source)
    with pytest.raises(ValueError, match="expected revision with a hub id only"):
        SynergyNet.from_pretrained(named, revision="main")


@pytest.mark.parametrize(("module", "source"), [("huggingface_hub", "somebody/model"), ("safetensors.torch", None)])
def test_without_a_package_the_error_names_the_extra(
    named: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str | None
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs {module.split(".")[0]}: pip install "\.\[hub\]"'):
        SynergyNet.from_pretrained(source or named)
