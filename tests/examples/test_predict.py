"""predict.py: what it writes for a photo, and one line for what it cannot take."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.examples.factory import exit_status
from torch.nn.functional import interpolate

from depthattn import SynergyNet
from depthattn.viz import label_palette

CLASSES = ("wall", "floor", "bed")
Predict = Callable[..., int]


@pytest.fixture
def predict() -> Predict:
    from prediction.app import main

    return partial(exit_status, main)


def write_run(folder: Path, classes: tuple[str, ...] = CLASSES) -> SynergyNet:
    from training import checkpoint

    torch.manual_seed(0)
    net = SynergyNet("resnet18", len(CLASSES), decoder_channels=(8, 8)).eval()
    # Enough spread that neither map is flat.
    for head in (net.depth_decoder.head.conv, net.semantic_decoder.head):
        head.weight.data.normal_()
    info = {"model": net.config, "class_names": list(classes)}
    checkpoint.save(folder / "checkpoints" / "best", {"model": net.state_dict()}, info)
    (folder / "config.json").write_text(json.dumps({"settings": {"size": [64, 96]}}))
    return net


def write_photo(path: Path, height: int = 60, width: int = 90) -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def expected(net: SynergyNet, pixels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    image = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0) / 255
    with torch.no_grad():
        output = net(interpolate(image, size, mode="bilinear", antialias=True))
        depth, logits = (interpolate(x, pixels.shape[:2], mode="bilinear", align_corners=False) for x in output)
    return depth[0, 0].numpy(), logits[0].argmax(0).numpy()


@pytest.mark.parametrize(("options", "size"), [((), (64, 96)), (("--size", 32, 64), (32, 64))])
def test_pictures_of_a_photo(
    predict: Predict, tmp_path: Path, options: tuple[object, ...], size: tuple[int, int]
) -> None:
    net = write_run(tmp_path / "run")
    pixels = write_photo(tmp_path / "room.png")
    output = tmp_path / "new" / "output"
    assert predict(tmp_path / "room.png", "--checkpoint", tmp_path / "run", "-o", output, *options) == 0
    names = ["room_depth.png", "room_depth_colour.png", "room_labels.png"]
    assert sorted(path.name for path in output.iterdir()) == names
    depth, labels = expected(net, pixels, size)
    with Image.open(output / names[0]) as picture:
        assert picture.mode == "I;16"
        # Half a millimetre of rounding, and what folding promises for float32: 1e-5 of the largest.
        assert np.abs(np.asarray(picture) - 1000.0 * depth).max() <= 0.5 + 1e-5 * 1000.0 * depth.max()
    with Image.open(output / names[2]) as picture:
        # The middle of each source pixel on the page, which begins 0.12 inches from the left and the top.
        scale, margin = 6.4 * 130 / 90, 0.12 * 130
        rows, columns = (np.rint(margin + scale * (np.arange(n) + 0.5)).astype(int) for n in (60, 90))
        shown = np.asarray(picture.convert("RGB"))[rows][:, columns].astype(int)
    painted = label_palette(3)[labels].astype(int)
    assert (np.abs(shown - painted).max(-1) <= 1).mean() > 0.99


def test_folder_of_photos_upright(predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run")
    write_photo(tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(write_photo(tmp_path / "c.png")).save(tmp_path / "photos" / "a.JPG", exif=exif)
    best = tmp_path / "run" / "checkpoints" / "best"
    assert predict(tmp_path / "photos", tmp_path / "c.png", "--checkpoint", best, "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 9
    sizes = {}
    for name in "abc":
        with Image.open(tmp_path / "out" / f"{name}_depth.png") as picture:
            sizes[name] = picture.size
    assert sizes == {"a": (60, 90), "b": (90, 60), "c": (90, 60)}
    assert capsys.readouterr().out.replace("\n", "") == f"3 photos, pictures in {tmp_path / 'out'}"


def test_no_label_picture_without_classes(predict: Predict, tmp_path: Path) -> None:
    write_run(tmp_path / "run", classes=())
    write_photo(tmp_path / "room.png")
    assert predict(tmp_path / "room.png", "--checkpoint", tmp_path / "run", "-o", tmp_path / "out") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["room_depth.png", "room_depth_colour.png"]


def missing_photo(folder: Path) -> list[object]:
    return [folder / "absent.png"]


def empty_folder(folder: Path) -> list[object]:
    (folder / "empty").mkdir()
    return [folder / "empty"]


def text_for_a_photo(folder: Path) -> list[object]:
    (folder / "text.png").write_text("no photo")
    return [folder / "text.png"]


def truncated_photo(folder: Path) -> list[object]:
    content = (folder / "room.png").read_bytes()
    (folder / "half.png").write_bytes(content[: len(content) // 2])
    return [folder / "half.png"]


def two_photos_of_one_name(folder: Path) -> list[object]:
    write_photo(folder / "other" / "room.png")
    return [folder / "room.png", folder / "other"]


def small_size(folder: Path) -> list[object]:
    return [folder / "room.png", "--size", 16, 64]


def word_for_a_size(folder: Path) -> list[object]:
    return [folder / "room.png", "--size", "big", 64]


def no_depth_range(folder: Path) -> list[object]:
    return [folder / "room.png", "--max-depth", 0]


def missing_checkpoint(folder: Path) -> list[object]:
    return [folder / "room.png", "--checkpoint", folder / "absent"]


def damaged_checkpoint(folder: Path) -> list[object]:
    weights = folder / "run" / "checkpoints" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    return [folder / "room.png"]


def weights_of_another_network(folder: Path) -> list[object]:
    from training import checkpoint

    best = folder / "run" / "checkpoints" / "best"
    saved = checkpoint.load(best)
    saved.info["model"]["decoder_channels"] = [8, 16]
    checkpoint.save(best, saved.tensors, saved.info)
    return [folder / "room.png"]


def checkpoint_without_a_network(folder: Path) -> list[object]:
    from training import checkpoint

    best = folder / "run" / "checkpoints" / "best"
    checkpoint.save(best, checkpoint.load(best).tensors, {"class_names": []})
    return [folder / "room.png"]


def output_that_is_a_file(folder: Path) -> list[object]:
    return [folder / "room.png", "--output", folder / "room.png"]


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (missing_photo, "absent.png: expected a photo or a folder of photos, got neither"),
        (empty_folder, "empty: expected a folder with photos, got none"),
        (text_for_a_photo, "text.png: expected a photo, got a file that does not decode"),
        (truncated_photo, "half.png: expected a photo, got a file that does not decode"),
        (two_photos_of_one_name, "room.png: expected photos of different names, got"),
        (small_size, "--size: expected at least 32 pixels each way, got 16 64"),
        (word_for_a_size, "argument --size: invalid int value: 'big'"),
        (no_depth_range, "--max-depth: expected more than 0.5 metres, got 0"),
        (missing_checkpoint, "info.json: expected a checkpoint, got No such file or directory"),
        (damaged_checkpoint, "model.safetensors: expected the"),
        (weights_of_another_network, "best/info.json: expected the weights of this model, got"),
        (checkpoint_without_a_network, "info.json: expected the network under 'model', got None"),
        (output_that_is_a_file, "File exists"),
    ],
)
def test_bad_input(
    predict: Predict,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], list[object]],
    reason: str,
) -> None:
    write_run(tmp_path / "run")
    write_photo(tmp_path / "room.png")
    arguments = ["--checkpoint", tmp_path / "run", "--output", tmp_path / "out", *prepare(tmp_path)]
    assert predict(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("predict.py: error: ")
    assert reason in lines[0]
    assert not (tmp_path / "out").exists()
