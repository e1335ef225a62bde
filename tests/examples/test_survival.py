"""What machines, disks and terminals do to a script: one line that helps, from whichever process meets it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat
from tests.examples.factory import ROOT, TINY, script_environment, tiny_network, write_list
from torch.utils.data import get_worker_info

Train = Callable[..., int]
ROOMS = ("--train-frames", 4, "--val-frames", 2)


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The one line on standard error."""

    def read() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") == 1, text
        return text.rstrip("\n")

    return read


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.app.build_model", tiny_network)
    monkeypatch.setattr("training.run.draw_curves", lambda *_: None)
    monkeypatch.setattr("training.run.draw_contact_sheet", lambda *_: None)


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=script_environment(**variables), capture_output=True, timeout=300
    )


def test_batch_norm_of_a_single_value(train: Train, tmp_path: Path, error: Callable[[], str]) -> None:
    """Pictures of 32x32 end as a map of 1x1, and a set of one frame makes batches of one whatever is asked for."""
    given = ("--size", 32, 32, "--train-frames", 1, "--val-frames", 1)
    assert train(*given, "--output", tmp_path / "runs" / "new") == 2
    assert "expected more than one value per channel in a batch, got one: pictures of 32x32" in error()
    assert not (tmp_path / "runs").exists()


def test_batch_norms_that_have_enough_values() -> None:
    from depthattn import SynergyNet
    from training.network import check_batch_norms
    from training.settings import parse

    model = SynergyNet("resnet18", 2, decoder_channels=(8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for options, batch_size, enough in (
        (["--size", "32", "32"], 1, False),
        (["--size", "32", "32"], 2, True),
        (["--size", "32", "33"], 1, True),
        (["--size", "32", "32", "--batch-norm", "frozen"], 1, True),
    ):
        settings = parse(options)
        # What PyTorch itself says of a step.
        model.train()
        if settings.batch_norm == "frozen":
            model.eval()
        images = torch.zeros(batch_size, 3, *settings.size)
        with contextlib.nullcontext() if enough else pytest.raises(ValueError, match="more than 1 value per channel"):
            model(images)
        model.load_state_dict(before)
        with contextlib.nullcontext() if enough else pytest.raises(ValueError, match="more than one value"):
            check_batch_norms(model, settings, batch_size)
        assert model.training or settings.batch_norm == "frozen"
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked, so that they inherit the frames of the test")
def test_a_killed_worker(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str]
) -> None:
    from depthattn.data import RGBDList

    read = RGBDList.__getitem__

    def dying(self: RGBDList, index: int) -> object:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    monkeypatch.setattr(RGBDList, "__getitem__", dying)
    frames = write_list(tmp_path / "data", 6)
    assert train("--list", frames, "--workers", 1, "--output", tmp_path / "runs" / "new") == 1
    # Whether PyTorch knows the signal depends on what it notices first.
    assert re.search(
        r"a process that loads data (was killed \(Killed\)|ended); if memory ran out, fewer --work", error()
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("where", ["the main process", "a worker"])
def test_no_memory(
    where: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str]
) -> None:
    """By PyTorch's allocator, which raises a RuntimeError, and by NumPy's, in a process that loads data."""
    from depthattn.data import RGBDList
    from training.engine import Engine

    read = RGBDList.__getitem__

    def greedy(self: RGBDList, index: int) -> object:
        return read(self, index) if get_worker_info() is None else np.zeros(1 << 55)

    frames = write_list(tmp_path / "data", 6)
    if where == "a worker":
        monkeypatch.setattr(RGBDList, "__getitem__", greedy)
    else:
        monkeypatch.setattr(Engine, "_accumulate", lambda *_: torch.zeros(1 << 55))
    workers = int(where == "a worker")
    assert train("--list", frames, "--workers", workers, "--output", tmp_path / "runs" / "new") == 1
    assert "error: out of memory; a smaller --batch-size (with --accumulate, for the same step) or --size" in error()
    assert not (tmp_path / "runs").exists()


def test_no_compiler(tmp_path: Path) -> None:
    code = """
import torch
from training.network import check_compiler
try:
    check_compiler(torch.device("cpu"))
except ValueError as error:
    print(error)
"""
    done = python("-c", code, PATH=str(tmp_path), CXX="", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout.startswith(b"--compile: expected a compiler that torch.compile can use, got: "), done.stderr
    assert done.stdout.endswith(b"; leave out --compile, or install one (on a CPU, g++ or clang)\n")
    assert done.stdout.count(b"\n") == 1


def test_a_folder_that_cannot_be_synced(
    train: Train, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str]
) -> None:
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    monkeypatch.setattr("scripting.messages._warned", set())
    assert train(*ROOMS, "--epochs", 2, "--output", tmp_path / "run") == 0
    assert re.fullmatch(r"warning: .*/best.writing cannot be synced to its disk \(Invalid argument\): .*", error())
    assert (tmp_path / "run" / "checkpoints" / "last" / "info.json").is_file()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a file system of Linux that does not sync")
def test_a_file_system_that_does_not_sync(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], str], tmp_path: Path
) -> None:
    from training import checkpoint

    monkeypatch.setattr("scripting.messages._warned", set())
    checkpoint._flush(Path("/proc/self"))
    assert error().startswith("warning: /proc/self cannot be synced")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint._flush(tmp_path)


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


def test_a_refused_lock(train: Train, tmp_path: Path, error: Callable[[], str]) -> None:
    """As a network file system without locks refuses it, and as another program does that writes to the file."""
    write_labeled_mat(tmp_path / "nyu.mat")
    with (tmp_path / "nyu.mat").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert train("--nyu", tmp_path / "nyu.mat", "--output", tmp_path / "runs" / "new") == 2
    text = error()
    assert "nyu.mat: expected the official nyu_depth_v2_labeled.mat" in text
    assert "got a refused lock" in text
    assert "HDF5_USE_FILE_LOCKING=FALSE" in text
    assert "damaged" not in text


def test_damage_that_only_the_second_process_reads(tmp_path: Path) -> None:
    from training.batches import StepBatches

    frames = write_list(tmp_path / "data", 8)
    batches = StepBatches(8, batch_size=1, accumulate=1, process_index=1, num_processes=2, seed=0)
    damaged = next(index for ((_, index),) in batches if index not in (0, 4))
    Image.new("L", (56, 40)).save(tmp_path / "data" / "depths" / f"{damaged}.png")
    validation = tmp_path / "data" / "first.txt"
    validation.write_text(frames.read_text().partition("\n")[0])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         Path(__file__).with_name("unseen_damage.py"), *TINY, "--batch-size", "1", "--list", frames, "--val-list",
         validation, "--output", tmp_path / "runs" / "new"],
        env=script_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"train_nyu.py: error: process 1: RGBDList: {tmp_path}/data/depths/{damaged}.png: expected" in done.stderr
    other = [line for line in done.stderr.splitlines() if line.startswith("train_nyu.py: error: process 0: ")]
    assert all("another process of this run has ended, and says why in a line of its own" in line for line in other)
    # That of the launcher alone.
    assert done.stderr.count("Traceback") == done.stderr.count("ChildFailedError:") == 1
    assert not (tmp_path / "runs").exists()


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
    assert train(*ROOMS, "--output", output) == 0
    assert train("--output", output, "--resume", "--workers", 0) == 0


def test_a_script_whose_packages_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scripting.entry import run

    sys.path.insert(0, str(tmp_path))
    try:
        for name, line in {"lacking": "import package_that_is_not_there", "stopped": "raise KeyboardInterrupt"}.items():
            (tmp_path / f"{name}.py").write_text(line)
        assert run("script.py", "lacking") == 2
        assert capsys.readouterr().err == (
            "script.py: error: expected the packages of the scripts, got: No module named "
            "'package_that_is_not_there'; pip install \".[nyu,train]\" in the folder of the repository\n"
        )
        assert run("script.py", "stopped") == 130
        assert capsys.readouterr().err == "script.py: interrupted before it began\n"
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


def test_every_script_begins_at_the_same_entry() -> None:
    for script in ("train_nyu", "predict", "evaluate_nyu", "run_report", "depth_distribution", "ablation"):
        text = (ROOT / "examples" / f"{script}.py").read_text()
        assert f'sys.exit(run("{script}.py", "' in text
