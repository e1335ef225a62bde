"""What machines do to a training: one line that helps, from whichever process meets it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat
from tests.examples.factory import TINY, script_environment, write_list
from tests.forked import group
from torch.utils.data import get_worker_info

Train = Callable[..., int]
ROOMS = ("--train-frames", 4, "--val-frames", 2)


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=script_environment(**variables), capture_output=True, timeout=300
    )


def test_batch_norm_of_a_single_value(train: Train, tmp_path: Path, error: Callable[[], str]) -> None:
    """Pictures of 32x32 end as a map of 1x1, and a set of one frame makes batches of one whatever is asked for."""
    given = ("--size", 32, 32, "--train-frames", 1, "--val-frames", 1)
    assert train(*given, "--output", tmp_path / "runs" / "new") == 2
    assert "expected more than one value per channel in a batch, got one: images of 32x32" in error()
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


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, list[object]]:
    """A damaged frame that the second of two processes is the first to read, and the options of a run that meets it."""
    from training.batches import StepBatches

    frames = write_list(tmp_path / "data", 8)
    batches = StepBatches(8, batch_size=1, accumulate=1, process_index=1, num_processes=2, seed=0)
    frame = tmp_path / "data" / "depths" / f"{next(index for ((_, index),) in batches if index not in (0, 4))}.png"
    Image.new("L", (56, 40)).save(frame)
    validation = tmp_path / "data" / "first.txt"
    validation.write_text(frames.read_text().partition("\n")[0])
    return frame, ["--batch-size", "1", "--list", frames, "--val-list", validation, "--output", tmp_path / "runs/new"]


def check_words(frame: Path, text: str) -> None:
    assert f"train_nyu.py: error: process 1: RGBDList: {frame}: expected" in text
    other = [line for line in text.splitlines() if line.startswith("train_nyu.py: error: process 0: ")]
    assert all("another process of this run has ended, and says why in a line of its own" in line for line in other)


def test_damage_that_only_the_second_process_reads(
    damaged: tuple[Path, list[object]], train: Train, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the statistics, which the first process computes, would find it.
    monkeypatch.setattr("training.run._STATISTICS_FRAMES", 2)
    frame, options = damaged
    ended = group(lambda: train(*options), tmp_path / "written")
    assert [process.status for process in ended] == [1, 2]
    check_words(frame, "".join(process.err for process in ended))
    assert all(process.err.count("\n") == 1 for process in ended)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_torchrun_shows_the_words_of_each_process(damaged: tuple[Path, list[object]], tmp_path: Path) -> None:
    frame, options = damaged
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         Path(__file__).with_name("unseen_damage.py"), *TINY, *options],
        env=script_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    check_words(frame, done.stderr)
    # That of the launcher alone.
    assert done.stderr.count("Traceback") == done.stderr.count("ChildFailedError:") == 1
    assert not (tmp_path / "runs").exists()
