"""Term `order`: what the photo shows in front stays in front."""

from __future__ import annotations

import math

from alignment.evidence import MIN_SIGMA, SceneEvidence, SceneTerm
from alignment.joint import Residual


def residuals(scene: SceneEvidence, weight: float) -> list[Residual]:
    """l_front - l_back <= the limit at which the photo's depth order holds; one-sided."""
    return [
        Residual("order", p.front, p.back, p.order, MIN_SIGMA / weight, one_sided=True)
        for p in scene.pairs
        if math.isfinite(p.order)
    ]


TERM = SceneTerm("order", residuals)
