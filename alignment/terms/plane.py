"""Term `plane`: an object's lowest point lies on the support plane, if the map shows so."""

from __future__ import annotations

from alignment.evidence import SceneEvidence, SceneTerm
from alignment.joint import WORLD, Residual


def residuals(scene: SceneEvidence, weight: float) -> list[Residual]:
    """l_k = ln(h / drop_k), with Huber's loss."""
    return [
        Residual("plane", c.front, WORLD, c.limit, c.sigma / weight, robust=True)
        for c in scene.contacts
        if c.back == WORLD and c.closed
    ]


TERM = SceneTerm("plane", residuals)
