"""Samplers on a velocity field with a closed form, dense and sparse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparse3d.sampling import Sampler, Step, sample, time_grid
from sparse3d.voxels import Voxels
from support.parity.fixture import Fixture


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """v(x, t, c) = -0.6 x + c cos(3 t) + 0.4 t sin(2 x), for t in [0, 1]."""

    positive: Tensor
    negative: Tensor

    def conditional(self, x: Tensor, time: float) -> Tensor:
        return self._velocity(x, time, self.positive)

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        return self._velocity(x, time, self.negative)

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        return self.conditional(x, time), self.unconditional(x, time)

    @staticmethod
    def _velocity(x: Tensor, time: float, c: Tensor) -> Tensor:
        return -0.6 * x + c * math.cos(3 * time) + 0.4 * torch.sin(2 * x) * time


def samplers(fixture: Fixture) -> None:
    """Every case step by step, then the plain and the always guided sampler of the notes."""
    for number, case in enumerate(fixture.sidecar["cases"]):
        sampler = _sampler(case)
        fixture.compare(f"case{number}_t", torch.tensor(time_grid(sampler), dtype=torch.float64))
        for layout in ("dense", "sparse"):
            steps = _run(fixture, sampler, layout)
            for name, states in (("x_t", [s.x for s in steps]), ("x_0", [s.x0 for s in steps])):
                fixture.compare(f"case{number}_{layout}_{name}", torch.stack(states))
    for name in ("plain", "cfg"):
        steps = _run(fixture, _described(fixture.sidecar[name]), "dense")
        fixture.compare(f"{name}_samples", steps[-1].x)


def _sampler(case: dict[str, Any]) -> Sampler:
    return Sampler(
        case["steps"],
        case["rescale_t"],
        case["guidance_strength"],
        case["guidance_rescale"],
        tuple(case["guidance_interval"]),
    )


def _described(words: str) -> Sampler:
    """A sampler in words: "steps 6, rescale_t 3, guidance 4, guidance_rescale 0.4"."""
    said = dict(part.split() for part in words.split(","))
    return Sampler(
        int(said["steps"]),
        float(said["rescale_t"]),
        float(said.get("guidance", 1)),
        float(said.get("guidance_rescale", 0)),
    )


def _run(fixture: Fixture, sampler: Sampler, layout: str) -> list[Step]:
    """The steps in the fixture's own layout: (B, C, x, y, z), or rows of voxels."""
    noise = fixture.input(f"noise_{layout}")
    given = (fixture.input("cond"), fixture.input("neg_cond"))
    if layout == "sparse":
        voxels = Voxels(fixture.input("coords"))
        item = voxels.coords[:, 0].long()
        field = ClosedForm(given[0][item], given[1][item])
        return list(sample(field, noise, sampler, voxels.lengths))
    batch, grid = noise.shape[0], noise.shape[2:]
    count = grid.numel()
    field = ClosedForm(*(c.repeat_interleave(count, 0) for c in given))
    rows = noise.flatten(2).transpose(1, 2).flatten(0, 1)

    def dense(x: Tensor) -> Tensor:
        return x.unflatten(0, (batch, count)).transpose(1, 2).reshape(noise.shape)

    steps = sample(field, rows, sampler, (count,) * batch, unbiased_spread=True)
    return [Step(s.time, dense(s.x), dense(s.x0)) for s in steps]


CHECKS = {"FlowEulerGuidanceIntervalSampler": samplers}
