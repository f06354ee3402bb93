"""Term `penetration`: no two bodies in one place, and none below the support plane."""

from __future__ import annotations

from alignment.evidence import SceneEvidence, SceneTerm
from alignment.joint import Residual

# Relative depth beyond which two bodies in one place are left so: deep overlap comes of a wrong
# unseen back, which must not push away what is measured.
MAX_OVERLAP = 0.06


def residuals(scene: SceneEvidence, weight: float) -> list[Residual]:
    """l_front - l_back <= the limit at which the two touch; one-sided."""
    return [
        Residual("penetration", c.front, c.back, c.limit, c.hard / weight, one_sided=True)
        for c in scene.contacts
        if c.overlap < MAX_OVERLAP
    ]


TERM = SceneTerm("penetration", residuals)
