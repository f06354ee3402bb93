"""What a fit says in words: the same on the command line, in `inspect` and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from scene.types import SceneObject

GOOD, FAILED = "good", "failed"  # of the grades of `alignment/fit.py`
PLANE = "the support plane"


def has_failed(o: SceneObject) -> bool:
    """Whether an object counts as a failure: it was lost, or its placement is graded "failed"."""
    return o.failure is not None or (o.fit is not None and o.fit.grade == FAILED)


def support_name(support: str, names: Sequence[str]) -> str:
    """What an object rests on, in words; "" where that is unknown.

    support: as in `FitReport`; names: of the scene's objects, in their order.
    """
    if not support.startswith("object "):
        return PLANE if support else ""
    return names[int(support.removeprefix("object ")) - 1]


def percent_of_depth(share: float) -> str:
    """A relative depth error as a short text; what is too small to tell from 0 says so."""
    return "< 0.01 %" if 0 < share < 1e-4 else f"{share * 100:.2f} %"
