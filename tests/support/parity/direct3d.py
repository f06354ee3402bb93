"""Direct3D-S2: the dense and the sparse transformer, and the attention of the latter."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from direct3d_s2.dit import Conditioning, DenseDit, SparseDit
from direct3d_s2.networks import build_network
from direct3d_s2.sparse_attention import SpatialSparseAttention, attend_blocks_by_masks
from sparse3d.voxels import Voxels
from support.parity.fixture import Fixture


def dense_dit(fixture: Fixture) -> None:
    dit = fixture.load_into(build_network(fixture.kind, fixture.arguments))
    assert isinstance(dit, DenseDit)
    prepared = dit.prepare(Conditioning(fixture.input("cond").unbind()))
    fixture.compare("v", dit(fixture.input("x"), fixture.input("t"), prepared))


def sparse_dit(fixture: Fixture) -> None:
    """The velocity by the fast attention and by its twin; the attention and a compressor alone."""
    dit = fixture.load_into(build_network(fixture.kind, fixture.arguments))
    assert isinstance(dit, SparseDit)
    voxels = Voxels(fixture.input("coords"))
    prepared = dit.prepare(_conditioning(fixture))
    plan = dit.plan(voxels)
    inputs = fixture.input("feats"), fixture.input("t"), plan, prepared
    fixture.compare("v", dit(*inputs))
    attentions = [cast("SpatialSparseAttention", block.self_attn) for block in dit.blocks]
    if "debug_attn_in" in fixture.outputs:
        fixture.compare("debug_attn_out", attentions[0](fixture.output("debug_attn_in"), plan))
    if "compress_out" in fixture.outputs:
        wide = fixture.input("compress_in")
        compressed = attentions[0].compression_key(wide, voxels, plan.compressed)
        fixture.compare("compress_out", compressed)
        fixture.compare("compress_coords", plan.compressed.voxels.coords)
    for attention in attentions:
        attention.attend_blocks = attend_blocks_by_masks
    fixture.compare("v", dit(*inputs))


def _conditioning(fixture: Fixture) -> Conditioning:
    """Tokens for each object, and their places where the fixture has them as sparse tokens."""
    tokens = fixture.input("cond")
    if "inputs/cond_coords" not in fixture.tensors:
        return Conditioning(tokens.unbind())
    coords: Tensor = fixture.input("cond_coords")
    lengths = coords[:, 0].bincount().tolist()
    return Conditioning(tokens.split(lengths), coords[:, 1:].split(lengths))


CHECKS = {"DenseDiT": dense_dit, "SparseDiT": sparse_dit}
