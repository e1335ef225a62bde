"""Options from a YAML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_keys_are_the_flags(tmp_path: Path) -> None:
    from training.settings import parse

    file = tmp_path / "data.yaml"
    file.write_text(
        "folder: frames\nnum_classes: 3\ndecoder-channels: [8, 4]\nno-up-skip: true\nprecision: no\nlr: 1e-4\n"
        "loss-weights: learned\nval-folder: null\n"
    )
    settings = parse(["--config", str(file), "--lr", "0.5"])
    assert settings.folder == tmp_path / "frames"
    assert (settings.num_classes, settings.decoder_channels, settings.up_skip) == (3, (8, 4), False)
    assert (settings.precision, settings.loss_weights, settings.val_folder) == ("no", "learned", None)
    # The command line goes first, and a data source means the defaults of a full training.
    assert (settings.lr, settings.epochs) == (0.5, 22)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--list", "frames.txt", "--root", "data", "--sharing", "none", "--no-up-skip", "--compile"],
        ["--loss-weights", "learned", "--no-tensorboard", "--accumulate", "3", "--checkpoint-every", "7"],
    ],
)  # fmt: skip
def test_a_run_folder_gives_its_settings_back(options: list[str], tmp_path: Path) -> None:
    from training.settings import parse

    settings = parse(options)
    settings.save_options(tmp_path)
    again = parse(["--config", str(tmp_path / "config.yaml")])
    given, wanted = again.as_json(), settings.as_json()
    paths = {name for name in ("list", "root") if wanted[name] is not None}
    assert {**given, **dict.fromkeys(paths)} == {**wanted, **dict.fromkeys(paths)}
    assert all(Path(given[name]) == Path(wanted[name]).resolve() for name in paths)


def test_several_folders_come_back_as_paths(tmp_path: Path) -> None:
    from reporting.record import RunRecord
    from training.settings import parse

    options = ["--layout", "folders", "--hold-out", "blocks", "--depth-code", "sunrgbd"]
    settings = parse(["--folder", "hall", "bath", *options])
    assert settings.folders == (Path("hall"), Path("bath"))
    settings.save_options(tmp_path)
    again = parse(["--config", str(tmp_path / "config.yaml")])
    assert again.folders == (Path("hall").resolve(), Path("bath").resolve())
    assert (again.layout, again.hold_out, again.depth_code) == ("folders", "blocks", "sunrgbd")
    record = RunRecord(tmp_path, {"settings": json.loads(json.dumps(settings.as_json()))}, [], 1)
    assert record.settings.folder == settings.folder
    assert parse(["--folder", "hall"]).folder == Path("hall")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch: 3", "expected names of options, got 'epoch'; the nearest is 'epochs'"),
        ("epochs: many", "argument --epochs: invalid whole number value: 'many'"),
        ("epochs: {a: 1}", "epochs: expected a value or a list of values"),
        ("sharing: &a [x, x]\nepochs: [*a, *a]", "epochs: expected a value or a list of values, got list"),
        ("decoder-channels: [--help, 3]", "decoder-channels: expected values, got '--help'"),
        ('size: [1, 2, "a\\nb"]', "unrecognized arguments: a b"),
        ("epochs: !!int ''", "expected YAML, got string index out of range"),
        ("compile: 3", "compile: expected true or false, got 3"),
        ("- epochs", "expected 'option: value' lines, got list"),
        ("a: [", "expected YAML, got"),
        ("!!python/object/apply:os.system ['touch hacked']", "expected YAML, got"),
        (None, "expected a file, got No such file or directory"),
    ],
)
def test_what_is_wrong_with_a_file(
    text: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.settings import parse

    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("data.yaml").write_text(text)
    with pytest.raises(SystemExit) as stop:
        parse(["--config", "data.yaml"])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("train_nyu.py: error: --config data.yaml: ")
    assert words in error
    assert error.count("\n") == 1
    assert not Path("hacked").exists()
