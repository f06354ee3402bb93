"""What does decoding launch on a device, counted without one?

A decoder of official size runs on the meta device, on levels of which only the sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from benchmarks.generator.cases import META
from benchmarks.generator.flops import count
from benchmarks.generator.launches import Launches, launches
from benchmarks.narrow import table
from pixal3d.latent_vae import LatentDecoder
from pixal3d.networks import OFFICIAL, NetworkSpec, build_network
from sparse3d.attention import TokenLayout, normed_and_rotated, normed_and_rotated_by_steps
from sparse3d.transformer import modulated, modulated_by_steps
from sparse3d.voxels import TAPS, Origin, Voxels, derived_neighbours

TOKENS = 11_000  # of a plain object at resolution 1024
CHILDREN_EACH = 4  # of eight: what a surface fills
CHUNK_BYTES = 1 << 30  # on a device of 64 GiB and more
# The shape decoder's before, when each tap of each slice of 64 MiB looked for its own pairs: the
# same object, counted by the same means. Conversions of types, one a product, are not in it.
BEFORE = Launches(195_715, 32_155, 30_961, 4_621_138_749_052)
COLUMNS = ("what", "operations", "matrix products", "waits", "moved in memory")
ROTARY_TOKENS, HEADS, HEAD_DIM = 16_384, 12, 128


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


def decoder_flops(spec: NetworkSpec, tokens: int) -> int:
    """FLOPs of a latent decoder for so many voxels: all 27 taps count."""
    with META:
        decoder = cast(LatentDecoder, build_network(spec.kind, spec.arguments))
    return count(lambda: _decode(decoder, tokens, CHUNK_BYTES))


def launches_table() -> str:
    """What is launched before and after, for decoding and for steps between matrix products."""
    rows = [("shape decoder, a product for each tap and slice", BEFORE)]
    decoded = decoder_launches("shape_decoder", TOKENS, CHUNK_BYTES)
    rows.append(("shape decoder, a product for each slice", decoded))
    for name, work in _steps().items():
        rows.append((name, launches(work)))
    return table(COLUMNS, [_row(name, counted) for name, counted in rows])


def _steps() -> dict[str, Callable[[], Tensor]]:
    """Each step between a flow's matrix products: by steps, and fused."""
    with META:
        heads = torch.zeros(ROTARY_TOKENS, 2, HEADS, HEAD_DIM, dtype=torch.bfloat16)
        gains, angles = (
            torch.zeros(2, HEADS, HEAD_DIM),
            torch.zeros(ROTARY_TOKENS, 1, HEAD_DIM // 2),
        )
    layout = TokenLayout((ROTARY_TOKENS,), angles, angles)
    _ = layout.phases  # computed once for all blocks and steps
    x, row = heads[:, 0].flatten(1), heads[:1, 0].flatten(1)
    return {
        "norm and rotary phases, by steps": lambda: normed_and_rotated_by_steps(
            heads, gains, layout
        ),
        "norm and rotary phases, fused": lambda: normed_and_rotated(heads, gains, layout),
        "modulated norm, by steps": lambda: modulated_by_steps(x, row, row),
        "modulated norm, fused": lambda: modulated(x, row, row),
    }


def _row(name: str, counted: Launches) -> list[str]:
    counts = (counted.operations, counted.matrix_products, counted.waits)
    return [name, *(f"{n:,}" for n in counts), f"{counted.moved_bytes / 1e9:,.2f} GB"]
