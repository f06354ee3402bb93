"""How far latents are from a unit normal: what the flows' latents are divided by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of each latent channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalised(self, latent: Tensor) -> Tensor:
        """(N, C) as the decoders know it -> as the flows know it."""
        mean, std = self._tensors(latent)
        return (latent - mean) / std

    def restored(self, latent: Tensor) -> Tensor:
        """The inverse of `normalised`."""
        mean, std = self._tensors(latent)
        return latent * std + mean

    def _tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return mean.to(like), std.to(like)
