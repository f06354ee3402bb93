"""Flow matching: the time grid, guidance within an interval, and Euler steps from noise to latents.

Figures and formulas: Pixal3D, commit cdbb2bb, pipelines/samplers/flow_euler.py. Time runs from 1
(noise) to 0 (data): x_t = (1 - t) x_0 + (s + (1 - s) t) noise with s = `SIGMA_MIN`, and the network
predicts v = (1 - s) noise - x_0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sparse3d.errors import BadConfiguration

SIGMA_MIN = 1e-5


@dataclass(frozen=True)
class Sampler:
    """steps: Euler steps. rescale_time: above 1 spends more steps near noise. guidance: strength g,
    v = g v_conditional + (1 - g) v_unconditional. guidance_rescale: 0 to 1, how far the guided
    prediction's spread is pulled back. interval: times (after rescaling, both ends included) where
    guidance acts; elsewhere the conditional velocity is taken alone."""

    steps: int = 12
    rescale_time: float = 1.0
    guidance: float = 1.0
    guidance_rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadConfiguration(f"steps: expected at least 1, got {self.steps}")
        if not self.rescale_time > 0:
            raise BadConfiguration(f"rescale_time: expected above 0, got {self.rescale_time:g}")
        if not 0 <= self.guidance_rescale <= 1:
            raise BadConfiguration(
                f"guidance_rescale: expected 0 to 1, got {self.guidance_rescale:g}"
            )

    def guidance_at(self, time: float) -> float:
        """The strength that acts at a time."""
        low, high = self.interval
        return self.guidance if low <= time <= high else 1.0


@dataclass(frozen=True, eq=False)
class Step:
    """After one Euler step: the time reached, the latents there, and the data predicted."""

    time: float
    x: Tensor
    x0: Tensor


class Velocity(Protocol):
    """What is sampled: velocities (N, C) of rows (N, C) at a time in [0, 1]."""

    def conditional(self, x: Tensor, time: float) -> Tensor: ...

    def unconditional(self, x: Tensor, time: float) -> Tensor: ...

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]: ...


def time_grid(sampler: Sampler) -> list[float]:
    """steps + 1 times from 1 to 0, float64 as NumPy spaces them.

    A released guidance interval ends at 0.6, which is one of the times: another rounding would
    change which steps are guided.
    """
    uniform = np.linspace(1, 0, sampler.steps + 1)
    r = sampler.rescale_time
    return (r * uniform / (1 + (r - 1) * uniform)).tolist()


def sample(
    velocity: Velocity,
    noise: Tensor,
    sampler: Sampler,
    lengths: tuple[int, ...],
    unbiased_spread: bool = False,
) -> Iterator[Step]:
    """Follow the flow from noise (N, C) float32, one `Step` at a time; the last one holds the data.

    lengths: rows per object. unbiased_spread: whether the guided prediction's spread divides by
    n - 1, as the reference does for the dense sparse-structure latents and not for sparse ones.
    """
    x, times = noise, time_grid(sampler)
    for time, after in zip(times[:-1], times[1:], strict=True):
        v = guided(velocity, x, time, sampler, lengths, unbiased_spread)
        x0 = data_from_velocity(x, v, time)
        x = x - (time - after) * v
        yield Step(after, x, x0)


def guided(
    velocity: Velocity,
    x: Tensor,
    time: float,
    sampler: Sampler,
    lengths: tuple[int, ...],
    unbiased_spread: bool,
) -> Tensor:
    """The velocity (N, C) under the sampler's guidance; one network pass where one suffices."""
    strength = sampler.guidance_at(time)
    if strength == 1:
        return velocity.conditional(x, time)
    if strength == 0:
        return velocity.unconditional(x, time)
    positive, negative = velocity.both(x, time)
    v = strength * positive + (1 - strength) * negative
    if sampler.guidance_rescale == 0:
        return v
    wanted = data_from_velocity(x, positive, time)
    predicted = data_from_velocity(x, v, time)
    ratio = spread(wanted, lengths, unbiased_spread) / spread(predicted, lengths, unbiased_spread)
    share = sampler.guidance_rescale
    return velocity_from_data(x, share * predicted * ratio + (1 - share) * predicted, time)


def data_from_velocity(x: Tensor, v: Tensor, time: float) -> Tensor:
    """x_0 that a velocity at x_t implies."""
    return (1 - SIGMA_MIN) * x - (SIGMA_MIN + (1 - SIGMA_MIN) * time) * v


def velocity_from_data(x: Tensor, x0: Tensor, time: float) -> Tensor:
    """The inverse of `data_from_velocity`."""
    return ((1 - SIGMA_MIN) * x - x0) / (SIGMA_MIN + (1 - SIGMA_MIN) * time)


def spread(x: Tensor, lengths: tuple[int, ...], unbiased: bool) -> Tensor:
    """Standard deviation over each object's rows and channels, repeated for its rows: (N, 1)."""
    parts = [part.std(correction=int(unbiased)).expand(len(part), 1) for part in x.split(lengths)]
    return torch.cat(parts)
