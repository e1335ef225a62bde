"""Folders of results that cannot be written to, found before any work, and disks that fill up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from tests.examples.factory import script_environment
from tests.forked import forked

Train = Callable[..., int]
ROOMS = ("--train-frames", 4, "--val-frames", 2)


def file_in_the_way(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder / "notes.txt" / "runs" / "new"


def the_file_itself(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder / "notes.txt"


def link_to_nowhere(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link" / "new"


def name_too_long(folder: Path) -> Path:
    return folder / ("n" * 300)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (file_in_the_way, "got {}/notes.txt, which is no folder"),
        (the_file_itself, "got {}/notes.txt, which is no folder"),
        (link_to_nowhere, "got {}/link, which is no folder"),
        (name_too_long, "got: File name too long"),
    ],
)
@pytest.mark.parametrize("script", ["train", "predict", "evaluate", "distribution", "ablation"])
def test_output_that_cannot_be(
    place: Callable[[Path], Path],
    reason: str,
    script: str,
    train: Train,
    tmp_path: Path,
    error: Callable[[], str],
) -> None:
    import ablating.app
    import distribution.app
    import evaluation.app
    import prediction.app

    output = place(tmp_path)
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    before = sorted(tmp_path.rglob("*"))
    run: dict[str, Callable[[str, str], int]] = {
        "train": lambda *to: train(*ROOMS, *to),
        "predict": lambda *to: prediction.app.main([str(tmp_path / "photo.png"), *to]),
        # What they need is not there either: the output comes first.
        "evaluate": lambda *to: evaluation.app.main(["--predictions", "none.npy", *to]),
        "distribution": lambda *to: distribution.app.main(["--depths", "none", *to]),
        "ablation": lambda *to: ablating.app.main([*to]),
    }
    assert run[script]("--output", str(output)) == 2
    assert f"--output {output}: expected a folder that can be written to, {reason.format(tmp_path)}" in error()
    assert sorted(tmp_path.rglob("*")) == before


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting needs a namespace of its own")
def test_a_read_only_mount(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from scripting.outputs import check_output as c; c('-o', Path('{tmp_path}/new'))"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o ro none {tmp_path} && exec {sys.executable} -c "{code}"'],
        env=script_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.endswith("expected a folder that can be written to, got: Read-only file system\n"), done.stderr


@pytest.mark.skipif(not can_mount(), reason="mounting needs a namespace of its own")
def test_a_full_disk_under_the_tensorboard_log(tmp_path: Path) -> None:
    """The log's own thread meets it first; neither it nor the run leaves a traceback."""
    code = f"""
from pathlib import Path
from scripting.messages import prepare_process
from training.engine import StepReport
from training.tensorboard import TensorBoardLog
prepare_process()
log = TensorBoardLog(Path("{tmp_path}"), step=0)
with open("{tmp_path}/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(1 << 12))
    except OSError:
        pass
for step in range(1, 1000):
    log.step(StepReport(dict.fromkeys(map(str, range(50)), 1.0), 1.0, 1, 0.0, True, False), step, 1.0)
log.close()
print("went on")
"""
    script = tmp_path.with_name("fills_the_disk.py")
    script.write_text(code)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} {script}"],
        env=script_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "went on\n", done.stderr
    assert done.stderr.startswith("warning: the TensorBoard log ends here, and the run goes on: [Errno 28] No space")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_file_that_does_not_fit_is_not_there_and_named(tmp_path: Path) -> None:
    """Of what every script writes, by a limit on the size of files in place of a full disk."""
    import resource

    from ablating.table import END, START, write_into
    from scripting.outputs import save_figure
    from training.checkpoint import write_text

    folder = tmp_path / "out"
    folder.mkdir()
    long = "x" * 5000
    figure = SimpleNamespace(savefig=lambda file, **_: file.write(long.encode()))
    page = f"{START}\nbefore\n{END}\n"

    def program() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for name, write in (
            ("text", lambda path: write_text(path, long)),
            ("figure.png", lambda path: save_figure(figure, path)),
            ("page.md", lambda path: write_into(path, long)),
        ):
            (folder / name).write_text(page)
            with pytest.raises(OSError, match="File too large: .*" + name):
                write(folder / name)
        return 0

    ended = forked(program, tmp_path / "written")
    assert (ended.status, ended.err) == (0, "")
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
        ("text", "figure.png", "page.md"), page
    )
