"""A group of two forked processes on one machine, for functions that ``torch.multiprocessing`` starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def group_of_two(rank: int, folder: str) -> Iterator[None]:
    """Process ``rank`` of the group inside the ``with`` block; the two meet in ``folder``."""
    # The threads of the process that was forked are not here.
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        yield
        # PyTorch 2.6 joins the threads of gloo while it holds Python's lock, which work on tensors wants at its end.
        dist.barrier()
    finally:
        dist.destroy_process_group()
