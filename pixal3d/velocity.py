"""The velocity that is sampled: a flow under a condition, and without it, in one pass or in two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pixal3d.flow import Condition, Flow, PreparedCondition
from sparse3d.attention import TokenLayout
from sparse3d.transformer import TIME_SCALE
from sparse3d.voxels import Voxels


@dataclass(frozen=True, eq=False)
class ConditionedFlow:
    """A flow on given voxels.

    concatenated: latents (N, C) that are read with the noisy ones (texture); batched: whether both
    passes of a guided step run as one.
    """

    flow: Flow
    layout: TokenLayout
    prepared: PreparedCondition
    concatenated: Tensor | None = None
    batched: bool = False

    def conditional(self, x: Tensor, time: float) -> Tensor:
        """Velocity (N, C) of x (N, C) at time 0 to 1, seeing the image."""
        return self._run(x, time, self.layout, self.prepared)

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        """The same without the image: cross-attention and projection shrink to a constant."""
        return self._run(x, time, self.layout, None)

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Both velocities; the same numbers within rounding, batched or not."""
        if not self.batched:
            return self.conditional(x, time), self.unconditional(x, time)
        twice = self._run(torch.cat([x, x]), time, self.layout.repeated(2), self.prepared)
        return twice[: len(x)], twice[len(x) :]

    def _run(
        self, x: Tensor, time: float, layout: TokenLayout, prepared: PreparedCondition | None
    ) -> Tensor:
        if self.concatenated is not None:
            x = torch.cat([x, self.concatenated.repeat(len(x) // len(self.concatenated), 1)], -1)
        moment = torch.tensor([TIME_SCALE * time], dtype=torch.float32, device=x.device)
        return self.flow(x, moment, layout, prepared)


def conditioned(
    flow: Flow,
    voxels: Voxels,
    condition: Condition,
    concatenated: Tensor | None = None,
    term_bytes: int = 0,
    batch_rows: int = 0,
) -> ConditionedFlow:
    """Prepare a flow for all steps of a sampling.

    term_bytes: memory for the projection's terms that no step changes. batch_rows: a guided step
    is one pass while both halves together have at most so many rows.
    """
    prepared = flow.prepare(condition, voxels.lengths, term_bytes)
    batched = 2 * len(voxels.coords) <= batch_rows
    return ConditionedFlow(flow, flow.layout(voxels), prepared, concatenated, batched)
