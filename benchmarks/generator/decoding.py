"""What does decoding launch on a device, counted without one?

A decoder of official size runs on the meta device, on levels of which only the sizes are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from benchmarks.generator.cases import META
from benchmarks.generator.launches import Launches, launches
from pixal3d.latent_vae import LatentDecoder
from pixal3d.networks import OFFICIAL, build_network
from pixal3d.voxels import TAPS, Origin, Voxels, derived_neighbours

DECODERS = ("shape_decoder", "texture_decoder")
TOKENS = 11_000  # of a plain object at resolution 1024
CHILDREN_EACH = 4  # of eight: what a surface fills
CHUNKS = (64 << 20, 1 << 30)
# The form before, in which each tap of each slice of 64 MiB looked for its own pairs, on the same
# object: counted by the same means.
BEFORE = Launches()
COLUMNS = ("decoder", "slices of", "matrix products", "operations", "waits", "moved")


@dataclass(frozen=True, eq=False)
class CountedOrigin(Origin):
    """Parents that all have as many children."""

    def families(self, slices: Sequence[slice]) -> list[slice]:
        return [slice(s.start * CHILDREN_EACH, s.stop * CHILDREN_EACH) for s in slices]


@dataclass(frozen=True, eq=False)
class CountedVoxels(Voxels):
    """Voxels of which only the number is known."""

    def __post_init__(self) -> None:
        """There are no coordinates to check."""

    @cached_property
    def neighbours(self) -> Tensor:
        if self.origin is None:
            return torch.zeros(len(self), TAPS, dtype=torch.int32, device=META)
        return derived_neighbours(self.origin)


def decoder_launches(name: str, tokens: int, chunk_bytes: int) -> Launches:
    """What one of the official latent decoders launches for so many voxels; how often the host
    waits for sizes of levels is not part of it."""
    with META:
        network = build_network(OFFICIAL[name].kind, OFFICIAL[name].arguments)
    decoder = cast(LatentDecoder, network)
    return launches(lambda: _decode(decoder, tokens, chunk_bytes))


@torch.no_grad()
def _decode(decoder: LatentDecoder, tokens: int, chunk_bytes: int) -> None:
    """`LatentDecoder.decode` without choosing children."""
    voxels = CountedVoxels(torch.zeros(tokens, 4, dtype=torch.int32, device=META))
    latent = torch.zeros(tokens, decoder.config.latent_channels, device=META)
    features = decoder.enter(latent, voxels)
    for level, up in enumerate(decoder.ups):
        features = decoder.refine(features, voxels, level, chunk_bytes)
        slots = torch.zeros(CHILDREN_EACH * len(voxels), dtype=torch.int64, device=META)
        coords = torch.zeros(len(slots), 4, dtype=torch.int32, device=META)
        voxels = CountedVoxels(coords, CountedOrigin(voxels, slots))
        features = up(features, voxels, chunk_bytes)
    features = decoder.refine(features, voxels, len(decoder.ups), chunk_bytes)
    decoder.leave(features, chunk_bytes)
