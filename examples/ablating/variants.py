"""The ladder of the ablation: each variant has one piece more than the one before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A rung of the ladder.

    Args:
        key: name of its results.
        title: its row of the table.
        pieces: keys of the pieces it has.
    """

    key: str
    title: str
    pieces: frozenset[str] = frozenset()


_PIECES = (
    ("depth_aware", "+ L_DA"),
    ("joint_gradient", "+ L_JG"),
    ("semantic_focal", "+ L_semF"),
    ("sharing", "+ LSU"),
    ("up_skip", "+ SUC"),
)
BASELINE = Variant("baseline", "smooth L1 + CE")


def _ladder() -> tuple[Variant, ...]:
    rungs = [BASELINE]
    for key, title in _PIECES:
        rungs.append(Variant(key, title, rungs[-1].pieces | {key}))
    return tuple(rungs)


LADDER = _ladder()
