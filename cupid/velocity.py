"""The velocity that is sampled: a flow that sees the image, and the same without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cupid.context import ImageContext
from cupid.latent_flow import LatentFlow
from cupid.structure_flow import StructureFlow
from sparse3d.transformer import TIME_SCALE
from sparse3d.voxels import Voxels

Pass = Callable[[Tensor, Tensor], Tensor]  # rows (N, C) and the network's time (1,) to a velocity


@dataclass(frozen=True, eq=False)
class GuidedFlow:
    """Both passes of a guided step, over everything that no step changes."""

    with_image: Pass
    without_image: Pass

    def conditional(self, x: Tensor, time: float) -> Tensor:
        """Velocity (N, C) of x (N, C) at time 0 to 1, seeing the image."""
        return self.with_image(x, _moment(x, time))

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        """The same without the image."""
        return self.without_image(x, _moment(x, time))

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Both velocities."""
        return self.conditional(x, time), self.unconditional(x, time)


@dataclass(frozen=True, eq=False)
class SharedFlow:
    """Several views of one object, whose latent they have in common: at every step the mean of what
    each says of it is taken (CUPID's fusion of views, after MultiDiffusion).

    Rows (N, shared + K own): the common channels, then those that each of K views has alone.
    """

    views: Sequence[GuidedFlow]
    shared: int

    def conditional(self, x: Tensor, time: float) -> Tensor:
        """Velocity (N, C) of x (N, C) at time 0 to 1, seeing all images."""
        pairs = zip(self.views, self.rows_of_views(x), strict=True)
        return self._fused([view.conditional(rows, time) for view, rows in pairs])

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        """The same without the images."""
        pairs = zip(self.views, self.rows_of_views(x), strict=True)
        return self._fused([view.unconditional(rows, time) for view, rows in pairs])

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Both velocities."""
        return self.conditional(x, time), self.unconditional(x, time)

    def rows_of_views(self, x: Tensor) -> list[Tensor]:
        """Each view's own rows (N, shared + own)."""
        own = x[:, self.shared :].tensor_split(len(self.views), 1)
        return [torch.cat((x[:, : self.shared], part), 1) for part in own]

    def _fused(self, velocities: Sequence[Tensor]) -> Tensor:
        common = torch.stack([v[:, : self.shared] for v in velocities]).mean(0)
        return torch.cat((common, *(v[:, self.shared :] for v in velocities)), 1)


def structure_velocity(flow: StructureFlow, context: ImageContext) -> GuidedFlow:
    """The first stage: the image through cross-attention alone."""

    def prepared(one: ImageContext) -> Pass:
        keys = flow.prepare([one])
        return lambda x, time: flow(x, time, keys)

    return GuidedFlow(prepared(context), prepared(context.without_image()))


def latent_velocity(
    flow: LatentFlow,
    voxels: Voxels,
    context: ImageContext,
    encoded: Tensor,
    visual: Tensor,
    uv: Tensor,
) -> GuidedFlow:
    """The second stage: beside cross-attention, every voxel reads what it sees of the image.

    encoded: (N, C) of the latent encoder; visual: the image (3, S, S) of the convolutions; uv:
    (N, 2), where the voxels appear. Without the image the former are zero, the latter see black.
    """

    def prepared(one: ImageContext, latent: Tensor, image: Tensor) -> Pass:
        fixed = flow.prepare(voxels, [one])
        beside = torch.cat((latent, flow.visual_features(image, uv)), 1)
        return lambda x, time: flow(torch.cat((x, beside), 1), time, fixed)

    return GuidedFlow(
        prepared(context, encoded, visual),
        prepared(context.without_image(), torch.zeros_like(encoded), torch.zeros_like(visual)),
    )


def _moment(x: Tensor, time: float) -> Tensor:
    return torch.tensor([TIME_SCALE * time], dtype=torch.float32, device=x.device)
