"""Euler steps of rectified flow with a shifted schedule and classifier-free guidance.

Facts: diffusers' FlowMatchEulerDiscreteScheduler, which Direct3D-S2 (commit a1cf235) samples with:
x_s = (1 - s) x_0 + s noise, v = noise - x_0, the network's time is 1000 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sparse3d.errors import BadConfiguration

TIME_SCALE = 1000.0  # training steps of the scheduler
Velocity = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Sampler:
    """steps: Euler steps; guidance: w of v = v_0 + w (v - v_0), v_0 without the image; shift: above
    1 spends more steps near noise."""

    steps: int
    guidance: float = 7.0
    shift: float = 6.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadConfiguration(f"steps: expected at least 1, got {self.steps}")
        if not self.shift > 0:
            raise BadConfiguration(f"shift: expected above 0, got {self.shift:g}")


def noise_levels(sampler: Sampler) -> list[float]:
    """steps + 1 levels from 1 to 0.

    The scheduler shifts its least level when it is made and again with all others: the last level
    above 0 is shifted twice. The released figures were sampled so.
    """
    least = _shifted(1 / TIME_SCALE, sampler.shift)
    return [*_shifted(np.linspace(1, least, sampler.steps), sampler.shift).tolist(), 0.0]


def _shifted(level: Any, shift: float) -> Any:
    """One level, or an array of them."""
    return shift * level / (1 + (shift - 1) * level)


def sample(
    conditional: Velocity, unconditional: Velocity, noise: Tensor, sampler: Sampler
) -> Iterator[Tensor]:
    """Latents after every step, from noise of any shape; the last ones are the data.

    Velocities take latents and the network's time. Without guidance (w = 1, and w = 0 as in the
    released pipeline) the unconditional one is not asked for.
    """
    x, levels = noise, noise_levels(sampler)
    for level, after in zip(levels, levels[1:], strict=False):
        v = conditional(x, TIME_SCALE * level)
        if sampler.guidance not in (0, 1):
            without = unconditional(x, TIME_SCALE * level)
            v = without + sampler.guidance * (v - without)
        x = x + (after - level) * v
        yield x
