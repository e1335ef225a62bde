"""A loader's workers outlive a signal to the whole job, and end with their main process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.examples.factory import script_environment

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
