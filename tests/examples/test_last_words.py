"""How scripts begin and end: what a console can print, what an error means, and what keeps its traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.examples.factory import ROOT, script_environment, write_list
from tests.forked import forked

Train = Callable[..., int]


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=script_environment(**variables), capture_output=True, timeout=300
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("variables", [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
                                       {"PYTHONIOENCODING": "ascii"}, {}])  # fmt: skip
def test_names_that_the_console_cannot_print(tmp_path: Path, variables: dict[str, str]) -> None:
    """Whatever the locale: letters that it lacks, and bytes that are no letters anywhere."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("küche.png".encode(), b"\xff.png"):
        Image.new("RGB", (40, 40)).save(os.fsdecode(os.fsencode(photos) + b"/" + name))
    code = """
import sys
from rich.console import Console
from pathlib import Path
from scripting.console import exit_status, frame_progress, new_console

def work():
    console = new_console()
    with frame_progress(console) as progress:
        task = progress.add_task("", total=2)
        for photo in sorted(Path(sys.argv[1]).iterdir()):
            progress.update(task, description=photo.name)
            console.print(photo.name, markup=False, soft_wrap=True)
    raise ValueError(f"{photo}: expected a photo")

sys.exit(exit_status("script.py", work, ""))
"""
    done = python("-c", code, photos, **variables)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.count(b"\n") == 2
    assert b"k" in done.stdout
    assert b"che.png" in done.stdout
    assert b"\\udcff.png" in done.stdout


def test_a_run_in_a_folder_that_is_no_text(train: Train, tiny: None, tmp_path: Path) -> None:
    output = tmp_path / "r\udcff\nn $x$"
    assert train("--list", write_list(tmp_path / "d\udcff\nd", 4), "--output", output) == 0
    assert train("--output", output, "--resume", "--workers", 0) == 0


def test_tensorboard_in_a_folder_that_is_no_text(
    tmp_path: Path, error: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.tensorboard import TensorBoardLog

    monkeypatch.setattr("scripting.messages._warned", set())
    log = TensorBoardLog(tmp_path / "r\udcff", step=0)
    log.epoch({"val/rmse": 1.0}, 1)
    log.close()
    assert error().startswith("warning: the TensorBoard log ends here, and the run goes on: 'utf-8' codec can't encode")


def test_a_script_whose_packages_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scripting.entry import run

    sys.path.insert(0, str(tmp_path))
    try:
        for name, line in {
            "lacking": "import package_that_is_not_there",
            "stopped": "raise KeyboardInterrupt",
            "stopped_later": "def main(_): raise KeyboardInterrupt",
        }.items():
            (tmp_path / f"{name}.py").write_text(line)
        assert run("script.py", "lacking") == 2
        assert capsys.readouterr().err == (
            "script.py: error: expected the packages of the scripts, got: No module named "
            "'package_that_is_not_there'; pip install \".[nyu,train]\" in the folder of the repository\n"
        )
        assert run("script.py", "stopped") == 130
        assert capsys.readouterr().err == "script.py: interrupted before it began\n"
        assert run("script.py", "stopped_later") == 130
        assert capsys.readouterr().err == "script.py: interrupted\n"
    finally:
        sys.path.remove(str(tmp_path))


def test_output_that_nobody_reads() -> None:
    code = """
import sys
from scripting.console import exit_status

def work():
    for _ in range(100000):
        print("a line")

sys.exit(exit_status("script.py", work, ""))
"""
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" | head -n 1; echo end', sys.executable, code],
        env=script_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("a line\nend\n", "")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (RuntimeError("DataLoader worker (pid(s) 4, 5) exited unexpectedly"), "a process that loads data ended; "),
        (RuntimeError("DataLoader worker (pid 4) is killed by signal: Bus error. It is possible that"), "(/dev/shm)"),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), "(/dev/shm) is full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"), "(CUDA out of memory)"),
        (MemoryError(), "out of memory; less takes less (MemoryError)"),
        (ValueError("two\nlines"), "two lines"),
        (OSError(errno.EIO, "Input/output error", "frame.png"), "[Errno 5] Input/output error: 'frame.png'"),
    ],
)
def test_explanations(raised: Exception, line: str) -> None:
    from scripting.failures import explain

    explained = explain(raised, "less")
    assert explained is not None
    assert line in explained[0]
    assert "\n" not in explained[0]


@pytest.mark.parametrize(
    "raised", [AttributeError("x"), RuntimeError("shape mismatch"), KeyError("x"), AssertionError()]
)
def test_faults_of_the_program_keep_their_traceback(raised: Exception) -> None:
    from scripting.console import exit_status
    from scripting.failures import explain

    def work() -> None:
        raise raised

    assert explain(raised, "less") is None
    with pytest.raises(type(raised)):
        exit_status("script.py", work, "")


def test_faults_of_threads_keep_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from scripting.messages import prepare_process

    prepare_process()
    for raised in (OSError("disk"), KeyError("fault")):

        def work(raised: Exception = raised) -> None:
            raise raised

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    text = capsys.readouterr().err
    assert text.count("Traceback") == 1
    assert "KeyError: 'fault'" in text


def test_ctrl_c_where_python_drops_it(tmp_path: Path) -> None:
    """Python writes a traceback of what a callback raises, and goes on."""
    from scripting.messages import prepare_process

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    def program() -> int:
        # What is started in the background may ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare_process()
        things = [threading.Event()]
        reference = weakref.ref(things[0], interrupted)
        try:
            things.clear()
            time.sleep(20)
        except KeyboardInterrupt:
            return 130
        return 0 if reference() is None else 1

    ended = forked(program, tmp_path)
    assert (ended.status, ended.err) == (130, "")


def test_every_script_begins_at_the_same_entry() -> None:
    for script in ("train_nyu", "predict", "evaluate_nyu", "run_report", "depth_distribution", "ablation"):
        text = (ROOT / "examples" / f"{script}.py").read_text()
        assert f'sys.exit(run("{script}.py", "' in text


def test_help_waits_for_no_metrics() -> None:
    """torchmetrics imports transformers where that is installed, which takes seconds."""
    code = """
import importlib, sys
for app in ("training", "prediction", "evaluation", "reporting", "distribution", "ablating"):
    try:
        importlib.import_module(f"{app}.app").main(["--help"])
    except SystemExit as stop:
        print("status", stop.code)
print(*sys.modules)
"""
    lines = python("-c", code).stdout.decode().splitlines()
    assert lines.count("status 0") == 6
    assert "argparse" in lines[-1].split()
    assert "torchmetrics" not in lines[-1].split()
