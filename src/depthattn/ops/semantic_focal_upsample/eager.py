"""The semantic focal loss on resized logits, with the eager tile function of the loss itself."""

from __future__ import annotations

from functools import partial

from depthattn.ops.semantic_focal.eager import focal_tile
from depthattn.ops.semantic_focal_upsample import tiled

forward = partial(tiled.forward, tiled.from_tile(focal_tile))
backward = partial(tiled.backward, tiled.from_tile(focal_tile))
