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
    (folder / "config.json").write_text(json.dumps({"settings": {"size": [64, 96]}, "data": "12 rooms"}))
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
    names = ["room_depth.png", "room_depth_colour.png", "room_labels.png", "room_overview.png"]
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
    assert len(list((tmp_path / "out").iterdir())) == 12
    sizes = {}
    for name in "abc":
        with Image.open(tmp_path / "out" / f"{name}_depth.png") as picture:
            sizes[name] = picture.size
    assert sizes == {"a": (60, 90), "b": (90, 60), "c": (90, 60)}
    kinds = ("depth", "depth_colour", "labels", "overview")
    assert capsys.readouterr().out.splitlines() == [
        "network     SynergyNet(resnet18), 3 classes",
        "trained on  12 rooms at 64x96 pixels",
        *(f"{name}: {', '.join(f'{name[0]}_{kind}.png' for kind in kinds)}" for name in ("a.JPG", "b.png", "c.png")),
        f"3 photos, 12 images in {tmp_path / 'out'}",
    ]


def test_a_photo_whose_results_would_have_too_long_a_name_is_passed_over(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    longest = 255 - len("_depth_colour.png")
    long, longer = "x" * longest, "y" * (longest + 1)
    for name in (long, longer):
        write_photo(tmp_path / "photos" / f"{name}.png", 32, 40)
    assert predict(tmp_path / "photos", "--checkpoint", tmp_path / "run", "-o", tmp_path / "out") == 1
    first, last = capsys.readouterr().err.splitlines()
    assert first == "predict.py: 1 of 2 photos could not be predicted:"
    assert last.endswith(f"{longer}_depth_colour.png: expected a name for a file, got: File name too long")
    kinds = ("depth", "depth_colour", "labels", "overview")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{long}_{kind}.png" for kind in kinds}


def test_what_is_no_photo_is_named_at_the_end(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    photos = tmp_path / "photos"
    write_photo(photos / "b.png")
    write_photo(photos / "f.png", 3000, 2)
    (photos / "a.png").write_text("no photo")
    (photos / "c.png").write_bytes((photos / "b.png").read_bytes()[:999])
    Image.fromarray(np.full((40, 50), 2000, np.uint16)).save(photos / "d.png")
    Image.fromarray(np.full((40, 50), 2.0, np.float32)).save(photos / "e.tif")
    output = tmp_path / "out"
    assert predict(photos, "--checkpoint", tmp_path / "run", "-o", output) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith(f"2 of 6 photos, 8 images in {output}\n")
    first, *rest = captured.err.splitlines()
    assert first == "predict.py: 4 of 6 photos could not be predicted:"
    for line, (name, reason) in zip(rest, {
        "a.png": "expected a photo, got a file that does not decode",
        "c.png": "expected a photo, got a file that does not decode",
        "d.png": "expected a photo, got one channel of numbers, as depth maps have (Pillow mode I;16)",
        "e.tif": "expected a photo, got one channel of numbers, as depth maps have (Pillow mode F)",
    }.items(), strict=True):  # fmt: skip
        assert line.startswith(f"  {photos / name}: ")
        assert reason in line
    assert {path.name[0] for path in output.iterdir()} == set("bf")


def test_no_memory_for_one_photo(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prediction.app import Predictor

    predicted = Predictor.predict
    monkeypatch.setattr(
        Predictor, "predict",
        lambda self, photo: predicted(self, photo) if len(photo) < 80 else torch.zeros(1 << 55),
    )  # fmt: skip
    write_run(tmp_path / "run")
    write_photo(tmp_path / "large.png", 80, 90)
    write_photo(tmp_path / "small.png")
    arguments = (tmp_path / "large.png", tmp_path / "small.png", "--checkpoint", tmp_path / "run")
    assert predict(*arguments, "-o", tmp_path / "out") == 1
    assert f"  {tmp_path / 'large.png'}: out of memory; a smaller --size or photo takes less" in capsys.readouterr().err
    assert (tmp_path / "out" / "small_depth.png").is_file()


def test_its_own_pictures_are_no_photos(predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run")
    write_photo(tmp_path / "photos" / "a.png")
    arguments = (tmp_path / "photos", "--checkpoint", tmp_path / "run", "-o", tmp_path / "photos")
    for _ in range(2):
        assert predict(*arguments) == 0
        assert len(list((tmp_path / "photos").iterdir())) == 5
    for kind in ("depth", "depth_colour", "labels", "overview"):
        assert predict(tmp_path / "photos" / f"a_{kind}.png", *arguments[1:3], "-o", tmp_path / "out") == 1
        assert "expected a photo, got an image that predict.py wrote" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_kept(predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run")
    for name in ("a", "b"):
        write_photo(tmp_path / "photos" / f"{name}.png")
    truth = tmp_path / "photos" / "a_depth.png"
    Image.new("I;16", (8, 6), 1000).save(truth)
    before = truth.read_bytes()
    arguments = (tmp_path / "photos" / "a.png", tmp_path / "photos" / "b.png", "--checkpoint", tmp_path / "run")
    assert predict(*arguments, "-o", tmp_path / "photos") == 1
    assert f"{truth}: expected a free name, got a file that predict.py did not write" in capsys.readouterr().err
    assert truth.read_bytes() == before
    assert not (tmp_path / "photos" / "a_overview.png").exists()
    assert (tmp_path / "photos" / "b_depth.png").is_file()


@pytest.mark.parametrize("folder", ["run/model", "elsewhere"])
def test_a_saved_network_says_what_it_was_trained_on(
    folder: str, predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = write_run(tmp_path / "run")
    net.save_pretrained(tmp_path / folder, class_names=CLASSES, image_size=(32, 64))
    write_photo(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", "--checkpoint", tmp_path / folder, "-o", tmp_path / "out") == 0
    known = "12 rooms" if folder == "run/model" else "data that its folder does not name"
    assert f"trained on  {known} at 32x64 pixels\n" in capsys.readouterr().out


def test_the_overview_has_photo_depth_and_labels_side_by_side(predict: Predict, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    pixels = write_photo(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", "--checkpoint", tmp_path / "run", "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a_overview.png") as picture:
        page = np.asarray(picture.convert("RGB")).astype(int)
    with Image.open(tmp_path / "out" / "a_labels.png") as picture:
        labels = np.asarray(picture.convert("RGB")).astype(int)
    # Panels of 4.2 inches at 130 dots, 0.12 inches from the left and from each other, 0.37 from the top.
    scale, top = 4.2 * 130 / 90, (0.25 + 0.12) * 130
    rows = np.rint(top + scale * (np.arange(60) + 0.5)).astype(int)
    columns = np.rint(0.12 * 130 + scale * (np.arange(90) + 0.5)).astype(int)
    assert (np.abs(page[rows][:, columns] - pixels).max(-1) <= 1).mean() > 0.95
    third = columns + round(2 * (4.2 + 0.12) * 130)
    alone = np.rint(0.12 * 130 + 6.4 * 130 / 90 * (np.arange(90) + 0.5)).astype(int)
    alone_rows = np.rint(0.12 * 130 + 6.4 * 130 / 90 * (np.arange(60) + 0.5)).astype(int)
    assert (np.abs(page[rows][:, third] - labels[alone_rows][:, alone]).max(-1) <= 1).mean() > 0.95


def test_no_label_picture_without_classes(predict: Predict, tmp_path: Path) -> None:
    write_run(tmp_path / "run", classes=())
    write_photo(tmp_path / "room.png")
    assert predict(tmp_path / "room.png", "--checkpoint", tmp_path / "run", "-o", tmp_path / "out") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["room_depth.png", "room_depth_colour.png", "room_overview.png"]


def missing_photo(folder: Path) -> list[object]:
    return [folder / "absent.png"]


def empty_folder(folder: Path) -> list[object]:
    (folder / "empty").mkdir()
    return [folder / "empty"]


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
        (two_photos_of_one_name, "room.png: expected photos of different names, got"),
        (small_size, "--size: expected at least 32 pixels each way, got 16 64"),
        (word_for_a_size, "argument --size: invalid int value: 'big'"),
        (no_depth_range, "--max-depth: expected more than 0.5 metres, got 0"),
        (missing_checkpoint, "info.json: expected a checkpoint, got No such file or directory"),
        (damaged_checkpoint, "model.safetensors: expected the"),
        (weights_of_another_network, "best/info.json: expected the weights of this model, got"),
        (checkpoint_without_a_network, "info.json: expected the network under 'model', got None"),
        (output_that_is_a_file, "room.png, which is no folder"),
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
