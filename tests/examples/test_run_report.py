"""The page of a run: it parses, loads nothing, holds every section, and its numbers are those that NumPy gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.examples.factory import TINY, write_pictures
from tests.examples.html_page import Page

from depthattn import SynergyNet

Train = Callable[..., int]
SECTIONS = ("summary", "curves", "data", "bins", "classes", "frames", "attention", "cloud", "gates")
ROOMS = ("--train-frames", 4, "--val-frames", 5)


def write_again(run: Path) -> int:
    from reporting.app import main

    try:
        return main([str(run)])
    except SystemExit as stop:
        return int(stop.code or 0)


def predictions(
    run: Path, arguments: tuple[object, ...]
) -> tuple[list[dict[str, torch.Tensor]], np.ndarray, np.ndarray]:
    """Validation frames, and depth and classes of the best weights, one frame at a time."""
    from training.settings import parse
    from training.sources import open_source

    info = json.loads((run / "checkpoints" / "best" / "info.json").read_text())
    model = SynergyNet(**info["model"])
    model.load_state_dict(load_file(run / "checkpoints" / "best" / "model.safetensors"))
    validation = open_source(parse([*TINY, *map(str, arguments)])).validation
    frames = [validation[index] for index in range(len(validation))]
    with torch.no_grad():
        outputs = [model.eval()(frame["image"][None]) for frame in frames]
    depth = torch.cat([output.depth[:, 0] for output in outputs]).double().numpy()
    return frames, depth, torch.cat([output.semantics.argmax(1) for output in outputs]).numpy()


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on rooms, with everything that a run can have."""
    from accelerate.state import AcceleratorState

    from training.app import main

    run = tmp_path_factory.mktemp("runs") / "rooms"
    AcceleratorState._reset_state(reset_partial_state=True)
    assert main([*TINY, *map(str, ROOMS), "--epochs", "2", "--output", str(run)]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


def test_every_section_is_there_and_nothing_is_loaded(rooms: Path) -> None:
    page = Page(rooms / "report.html")
    assert [name for name in page.tags if name] == list(SECTIONS)
    assert "http" not in page.source
    assert "<script" not in page.source
    assert page.links
    assert all(re.match(r"#|data:image/(png|jpeg);base64,", link) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", page.source)
    # Pictures have their size, and none waits: a page that grows moves away under the links of its menu.
    pictures = re.findall(r"<img [^>]*>", page.source)
    assert len(pictures) == 24
    assert all(re.search(r'width="48" height="32"', picture) for picture in pictures)
    assert "lazy" not in page.source
    assert page.tags["curves"].count("svg") == 6
    assert page.tags["data"].count("svg") == 2
    assert page.tags["cloud"].count("svg") == 2
    assert page.tags["gates"].count("svg") == 4
    # Five frames: one of the best, the median and the worst each, in six pictures.
    assert page.tags["frames"].count("img") == 18
    assert page.tags["attention"].count("img") == 6
    assert all("figcaption" in page.tags[name] for name in SECTIONS[1:])


def test_the_summary_has_the_scores_of_the_results_and_the_command(rooms: Path) -> None:
    summary = Page(rooms / "report.html").text("summary")
    results = json.loads((rooms / "results.json").read_text())
    config = json.loads((rooms / "config.json").read_text())
    assert f"{results['scores']['rmse']:.3f} m" in summary
    assert f"{results['scores']['abs_rel']:.3f}" in summary
    assert f"{results['scores']['miou']:.1%}" in summary
    assert f"{results['constant_depth_rmse']:.3f} m" in summary
    assert f"random baseline: {results['chance_miou']:.1%}" in summary
    assert f"started {config['started']}" in summary
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", config["started"])
    assert config["command"] in summary
    assert f"torch {version('torch')}" in summary
    assert f"2 of 2 epochs in {sum_of_seconds(rooms)}" in summary
    assert f"epoch {results['epoch']}, the best" in summary


def sum_of_seconds(run: Path) -> str:
    total = sum(json.loads(line)["seconds"] for line in (run / "metrics.jsonl").read_text().splitlines())
    return f"{round(total) // 60} min {round(total) % 60} s"


def test_errors_by_depth_are_those_of_numpy(rooms: Path) -> None:
    frames, depth, _ = predictions(rooms, ROOMS)
    truth = torch.stack([frame["depth"][0] for frame in frames]).double().numpy()
    depth = depth.clip(1e-3, 10)
    heading, *rows = Page(rooms / "report.html").rows["bins"]
    assert heading[:4] == ["true depth in m", "pixels", "share", "RMSE in m"]
    assert len(rows) == 10
    for low, row in enumerate(rows):
        chosen = (truth > 0) & (truth >= low) & (truth < low + 1)
        assert row[:2] == [f"{low} to {low + 1}", f"{chosen.sum():,}"]
        if chosen.any():
            error = depth[chosen] - truth[chosen]
            assert float(row[3]) == pytest.approx(np.sqrt(np.mean(error**2)), abs=6e-4)
            assert float(row[4]) == pytest.approx(np.mean(error), abs=6e-4)
            assert float(row[5]) == pytest.approx(np.mean(np.abs(error) / truth[chosen]), abs=6e-4)
        else:
            assert row[3:6] == ["-", "-", "-"]


def test_iou_by_class_is_that_of_numpy(rooms: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    frames, _, classes = predictions(rooms, ROOMS)
    truth = torch.stack([frame["labels"] for frame in frames]).numpy()
    names = json.loads((rooms / "config.json").read_text())["class_names"]
    train = open_source(parse([*TINY, *map(str, ROOMS)])).train_plain
    seen = set(torch.cat([train[index]["labels"].flatten() for index in range(4)]).unique().tolist())
    _, *rows = Page(rooms / "report.html").rows["classes"]
    shown = {
        row[0].removesuffix(" rare").removesuffix(" unseen"): (float(row[2].rstrip("%")), int(row[4].replace(",", "")))
        for row in rows
    }
    classes = np.where(truth >= 0, classes, -1)
    for index, name in enumerate(names):
        union = np.sum((truth == index) | (classes == index))
        if union == 0:
            assert name not in shown
        else:
            iou = 100 * np.sum((truth == index) & (classes == index)) / union
            assert shown[name] == (pytest.approx(iou, abs=0.051), np.sum(truth == index))
    unseen = {row[0].removesuffix(" unseen") for row in rows if row[0].endswith(" unseen")}
    assert unseen == {name for index, name in enumerate(names) if index not in seen and name in shown}
    assert sorted((iou for iou, _ in shown.values()), reverse=True) == [iou for iou, _ in shown.values()]


def test_frames_are_ranked_by_their_rms(rooms: Path) -> None:
    frames, depth, _ = predictions(rooms, ROOMS)
    truth = torch.stack([frame["depth"][0] for frame in frames]).double().numpy()
    rmse = [float(np.sqrt(np.mean((d[g > 0] - g[g > 0]) ** 2))) for d, g in zip(depth, truth, strict=True)]
    order = sorted(range(5), key=rmse.__getitem__)
    text = Page(rooms / "report.html").text("frames")
    shown = [int(number) for number in re.findall(r"frame (\d+)", text.split("Frames of the validation set")[0])]
    assert shown == [order[0], order[2], order[4]]
    assert all(f"RMSE {rmse[index]:.2f} m" in text for index in shown)


def test_the_tail_of_the_training_set(rooms: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    train = open_source(parse([*TINY, *map(str, ROOMS)])).train_plain
    depth = torch.stack([train[index]["depth"] for index in range(4)]).numpy()
    text = Page(rooms / "report.html").text("data")
    found = re.search(r"the tail begins at ([\d.]+) m", text)
    assert found
    assert float(found[1]) == pytest.approx(np.quantile(depth[depth > 0], 0.9), abs=0.1)
    assert f"pixels without depth {np.mean(depth == 0):.1%}" in text


def test_the_page_made_later_is_the_same(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (rooms / "report.html").read_text(encoding="utf-8")
    (rooms / "report.html").unlink()
    assert write_again(rooms) == 0
    assert capsys.readouterr().out == f"{rooms / 'report.html'}\n"
    assert (rooms / "report.html").read_text(encoding="utf-8") == before


def test_names_cannot_bring_markup_into_the_page(rooms: Path) -> None:
    config = json.loads((rooms / "config.json").read_text())
    hostile = "<script>alert(1)</script>\"'&"
    changed = {**config, "command": hostile, "data": hostile, "device": hostile, "versions": {hostile: hostile}}
    (rooms / "config.json").write_text(json.dumps(changed))
    try:
        from rich.console import Console

        from reporting import write_report
        from training.settings import parse
        from training.sources import open_source

        settings = parse([*TINY, *map(str, ROOMS)])
        source = open_source(settings)
        names = tuple(f"{hostile}{index}" for index in range(len(source.class_names)))
        source = replace(source, class_names=names)
        path = write_report(rooms, source, settings, one_guess, Console(quiet=True))
        parsed = Page(path)
        assert "<script" not in parsed.source
        assert "alert(1)" in parsed.text("summary")
        assert f"{hostile}0" in parsed.text("classes")
    finally:
        (rooms / "config.json").write_text(json.dumps(config))


def one_guess(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full_like(images[:, :1], 2.0), torch.zeros(len(images), *images.shape[2:], dtype=torch.long)


@pytest.mark.usefixtures("reports")
def test_depth_only_and_no_sharing(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_pictures(tmp_path / "frames", 5)
    assert train("--folder", tmp_path / "frames", "--sharing", "none", "--output", run) == 0
    page = Page(run / "report.html")
    assert [name for name in page.tags if name] == list(SECTIONS)
    assert page.text("classes").endswith("The validation frames have no labels.")
    assert page.text("gates").endswith("The network has no lateral sharing units.")
    assert "mIoU" not in page.text("summary").split("command")[0]
    # One frame is held out: image, true and predicted depth and its error.
    assert page.tags["frames"].count("img") == 4
    assert "assumed" in page.text("cloud")
    assert "There is one epoch" in page.text("curves")
    assert "random baseline" not in page.text("curves")
    assert not re.search(r"\bnan\b", " ".join(page.text(name) for name in SECTIONS))


@pytest.mark.usefixtures("reports")
def test_labels_only(train: Train, tmp_path: Path) -> None:
    write_pictures(tmp_path / "frames", 4, depth=False, labels=True)
    run = tmp_path / "run"
    assert train("--folder", tmp_path / "frames", "--num-classes", 3, "--output", run) == 0
    page = Page(run / "report.html")
    assert page.text("data").endswith("The training frames have no true depth.")
    assert page.text("bins").endswith("The validation frames have no true depth.")
    assert page.text("attention").endswith("No validation frame has true depth.")
    assert page.text("cloud").endswith("No validation frame has true depth.")
    assert page.tags["frames"].count("img") == 3
    assert "share of wrong labels" in page.text("frames")
    assert not re.search(r"\bnan\b", " ".join(page.text(name) for name in SECTIONS))


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_again(tmp_path) == 2
    assert capsys.readouterr().err == (
        f"run_report.py: error: {tmp_path / 'config.json'}: expected the folder of a run of train_nyu.py, "
        "got No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "expected JSON, got"),
        ("config.json", "[]", "expected a JSON object, got list"),
        ("config.json", '{"settings": {}}', "expected the key 'data' as str, got settings"),
        ("metrics.jsonl", '{"epoch": 1}\n{"step": 2}\n', "metrics.jsonl line 2: expected epoch, got step"),
        ("metrics.jsonl", "nonsense\n", "metrics.jsonl line 1: expected an epoch as JSON, got 'nonsense'"),
    ],
)
def test_damaged_files_are_named(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    for part in ("config.json", "metrics.jsonl", "checkpoints/best/info.json"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_text((rooms / part).read_text())
    (tmp_path / name).write_text(content)
    assert write_again(tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_settings_of_another_version(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((rooms / "config.json").read_text())
    config["settings"]["colour"] = "blue"
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for part in ("metrics.jsonl", "checkpoints/best/info.json"):
        (tmp_path / part).write_text((rooms / part).read_text())
    assert write_again(tmp_path) == 2
    assert "expected the settings of this version of train_nyu.py, got others" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, {}),
        (2, {"all": [0, 1]}),
        (3, {"best": [0], "median": [1], "worst": [2]}),
        (9, {"best": [0, 1, 2], "median": [3, 4, 5], "worst": [6, 7, 8]}),
        (20, {"best": [0, 1, 2], "median": [8, 9, 10], "worst": [17, 18, 19]}),
    ],
)
def test_extremes(count: int, wanted: dict[str, list[int]]) -> None:
    from reporting.measure import FrameScore, extremes

    frames = [FrameScore(index, float(index), 0.0, 0.0) for index in range(count)]
    assert {name: [frame.index for frame in group] for name, group in extremes(frames).items()} == wanted


def test_frames_without_depth_are_left_out_where_others_have_it() -> None:
    from reporting.measure import FrameScore, ranked

    nan = float("nan")
    frames = [FrameScore(0, 2.0, 0.1, nan), FrameScore(1, nan, nan, 0.9), FrameScore(2, 1.0, 0.1, 0.5)]
    order, left_out = ranked(frames)
    assert ([frame.index for frame in order], left_out) == ([2, 0], 1)
    order, left_out = ranked([FrameScore(0, nan, nan, 0.2), FrameScore(1, nan, nan, 0.9), FrameScore(2, nan, nan, nan)])
    assert ([frame.index for frame in order], left_out) == ([1, 0], 1)


def test_rare_classes_hold_at_most_a_tenth() -> None:
    from reporting.scores import rare_classes

    assert rare_classes([900, 0, 40, 60, 100]) == {2, 3}
    assert rare_classes([900, 40, 61]) == {1}
    assert rare_classes([0, 0]) == set()


def test_pictures_of_colour_maps_lose_nothing() -> None:
    import base64
    import io

    from PIL import Image

    from reporting.charts import map_uri

    for colours in (200, 5000):
        pixels = np.random.default_rng(0).integers(0, 256, (colours, 3), dtype=np.uint8)
        pixels = pixels[np.arange(100 * 60) % colours].reshape(60, 100, 3)
        kind, content = map_uri(pixels).split(",")
        assert kind == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert image.mode == ("P" if colours == 200 else "RGB")
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)


def test_colour_bars_mark_where_they_saturate() -> None:
    from matplotlib.colors import Normalize

    from reporting.charts import colour_bar

    plain = colour_bar(Normalize(0, 2), "viridis", (0, 1, 2), "weight")
    assert re.findall(r'">([^<]*)</span>', plain) == ["0", "1", "2"]
    assert "saturates" not in plain
    marked = colour_bar(Normalize(0.5, 10), "viridis", (0.5, 1, 10), "depth in m", saturates="both")
    assert re.findall(r'">([^<]*)</span>', marked) == ["\u2264 0.5", "1", "\u2265 10"]
    assert 'class="ramp saturates"' in marked


def test_pictures_and_charts_say_what_they_show(rooms: Path) -> None:
    source = (rooms / "report.html").read_text(encoding="utf-8")
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', source)
    assert alts
    assert all(re.fullmatch(r".+ of frame \d+", alt) for alt in alts)
    rmse = [json.loads(line)["val/rmse"] for line in (rooms / "metrics.jsonl").read_text().splitlines()]
    assert f'aria-label="validation depth by epoch: RMSE from {rmse[0]:.3g} to {rmse[-1]:.3g}"' in source


def test_all_gates_have_one_scale(rooms: Path) -> None:
    source = (rooms / "report.html").read_text(encoding="utf-8")
    charts = re.findall(r"<svg.*?</svg>", source[source.index('<section id="gates">') :], flags=re.DOTALL)
    assert len(charts) == 4
    # The numbers of the vertical axis, which are those set to the right of their place.
    axes = [re.findall(r"text-anchor: end[^>]*>([^<]+)</text>", chart) for chart in charts]
    assert axes[0]
    assert all(axis == axes[0] for axis in axes)
