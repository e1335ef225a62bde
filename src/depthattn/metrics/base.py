"""What all metrics here have in common."""

from __future__ import annotations

import hashlib
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric


class ScoreMetric(Metric):
    """A metric whose options are part of its state.

    ``torchmetrics.MetricCollection`` updates only one of the metrics whose states agree after the first batch, and lets
    the others share its states. Two metrics with other options may happen to agree, as two depth ranges do on a batch
    of near depth, and differ on the next. A state that no two of them share keeps them apart.

    Args:
        options: all that the scores depend on besides the data; their ``repr`` tells them apart.
        **kwargs: options of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    options_digest: Tensor

    def __init__(self, *options: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Bytes, each a number of its own: torchmetrics compares with a tolerance.
        digest = hashlib.blake2b(repr((type(self).__qualname__, options)).encode(), digest_size=16).digest()
        self.add_state("options_digest", torch.tensor(list(digest), dtype=torch.int64), dist_reduce_fx="max")

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Do nothing: the states are integers, and the arithmetic has the dtype of the inputs, at least float32."""
        return self
