"""Term `contact`: two objects touch, where the map shows no gap between them."""

from __future__ import annotations

from alignment.evidence import SceneEvidence, SceneTerm
from alignment.joint import WORLD, Residual


def residuals(scene: SceneEvidence, weight: float) -> list[Residual]:
    """l_front - l_back = the limit at which the two touch, with Huber's loss."""
    return [
        Residual("contact", c.front, c.back, c.limit, c.sigma / weight, robust=True)
        for c in scene.contacts
        if c.back != WORLD and c.closed
    ]


TERM = SceneTerm("contact", residuals)
