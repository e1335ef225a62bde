"""A loader's workers outlive a signal to the whole job, and end with their main process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing import resource_sharer
from pathlib import Path

import pytest
from tests.examples.factory import script_environment
from tests.forked import forked

# The iterator is still there at the end, as after an error whose traceback holds on to it. The kill command is a
# process of its own: its signal does not come from the main one.
SCRIPT = """
import os, subprocess, sys
from torch.utils.data import DataLoader, Dataset
from training.workers import heed_main_only

class Numbers(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        return os.getpid()

iterator = iter(DataLoader(Numbers(), num_workers=1, batch_size=1, worker_init_fn=heed_main_only,
                           persistent_workers=True))
worker = next(iterator).item()
for name in ("INT", "TERM"):
    subprocess.run(["kill", "-s", name, str(worker)], check=True)
print(all(pid.item() == worker for pid in list(iterator)[:3]), worker != os.getpid())
print(iterator is not None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot tell who sent a signal")
def test_workers_heed_their_main_process_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=script_environment(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True", "True", "True"]), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and connects by a path")
def test_a_main_process_that_is_interrupted_as_it_fetches_a_batch(tmp_path: Path) -> None:
    """It hangs up on the worker's thread that hands over tensors, which would write a traceback."""
    from training.workers import heed_main_only

    def program() -> int:
        heed_main_only(0)
        shared = resource_sharer.DupFd(1)
        address = shared._id[0]
        with socket.socket(socket.AF_UNIX) as main:
            main.connect(address)
        # The thread answers one after the other, so that it is through with the first.
        os.close(shared.detach())
        return 0

    ended = forked(program, tmp_path)
    assert (ended.status, ended.err) == (0, "")
