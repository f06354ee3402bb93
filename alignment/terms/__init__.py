"""The residual terms of a scene's placement: the one list in which solver and settings find them.

A term is a file of this folder. It is added here twice: to TERMS, and by its weight to TermWeights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alignment.terms import contact, order, penetration, plane
from scene.errors import BadInput

TERMS = (plane.TERM, contact.TERM, penetration.TERM, order.TERM)


@dataclass(frozen=True)
class TermWeights:
    """How much each term counts: 0 switches it off, 1 trusts it as far as its evidence goes.

    plane: objects that stand on the support plane; contact: objects that touch; penetration: no two
    bodies in one place; order: what the photo shows in front stays in front.
    """

    plane: float = 1.0
    contact: float = 1.0
    penetration: float = 1.0
    order: float = 1.0

    def __post_init__(self) -> None:
        for term in TERMS:
            weight = getattr(self, term.name)
            if not 0 <= weight < math.inf:
                raise BadInput(f"{term.name}: expected 0 or more, got {weight:g}")
