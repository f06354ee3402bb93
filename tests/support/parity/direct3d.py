"""Direct3D-S2: its transformers and their attention, decoders and refiners."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from direct3d_s2.dit import Conditioning, DenseDit, SparseDit
from direct3d_s2.networks import build_network
from direct3d_s2.sdf import CHILDREN, SparseSdf
from direct3d_s2.sparse_attention import SpatialSparseAttention, attend_blocks_by_masks
from direct3d_s2.voxels import active_voxels
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


def dense_decoder(fixture: Fixture) -> None:
    """Logits, and the voxels that the sparse stage starts from."""
    decoder = _loaded(fixture)
    logits = decoder(fixture.input("latent"))
    fixture.compare("logits", logits)
    fixture.compare("index", active_voxels(logits).coords)


def sdf_decoder(fixture: Fixture) -> None:
    """Values, some of them, in the order of their coordinates; and what the last layer reads."""
    decoder, voxels = _loaded(fixture), Voxels(fixture.input("coords"))
    wide = "outputs/features" in fixture.tensors
    made = decoder(fixture.input("latent"), voxels, with_features=wide)
    side = torch.arange(CHILDREN)
    cells = torch.cartesian_prod(side, side, side)
    places = (made.cubes[:, None] * CHILDREN + cells).flatten(0, 1)
    order = (places @ torch.tensor([1 << 24, 1 << 12, 1])).argsort()
    stride = fixture.sidecar["value_stride"]
    fixture.compare("values", made.values.flatten()[order][::stride])
    if wide:
        assert made.features is not None
        fixture.compare("features", made.features.flatten(0, 3)[order][::16])


def smoothing_refiner(fixture: Fixture) -> None:
    refined = _loaded(fixture)(_ball(fixture, features=True))
    fixture.compare("volume", refined.values[(_every(fixture),) * 3])


def sign_refiner(fixture: Fixture) -> None:
    refined = _loaded(fixture)(_ball(fixture))
    fixture.compare("volume", refined.planes(0, refined.side)[(_every(fixture),) * 3])


def _loaded(fixture: Fixture) -> nn.Module:
    return fixture.load_into(build_network(fixture.kind, fixture.arguments))


def _every(fixture: Fixture) -> slice:
    return slice(None, None, fixture.sidecar["volume_stride"])


def _ball(fixture: Fixture, features: bool = False) -> SparseSdf:
    """The field that the refiners of the fixtures get: a ball's, with waves for features."""
    stated, cubes = fixture.sidecar, fixture.input("cubes")
    side = torch.arange(CHILDREN)
    cells = torch.cartesian_prod(side, side, side).view(1, CHILDREN, CHILDREN, CHILDREN, 3)
    places = (cubes[:, None, None, None] * CHILDREN + cells).float()
    distances = (places - torch.tensor(stated["centre"])).norm(dim=-1) - stated["radius"]
    values = (distances / stated["truncation"]).clamp(-1, 1)
    random = torch.Generator().manual_seed(3)
    waves = torch.randn(3, fixture.arguments["feature_channels"], generator=random)
    return SparseSdf(cubes, values, 64, torch.sin(places @ waves) if features else None)


CHECKS = {
    "DenseDiT": dense_dit,
    "SparseDiT": sparse_dit,
    "DenseShapeVAE": dense_decoder,
    "SparseSDFVAE": sdf_decoder,
    "Voxel_RefinerXL": smoothing_refiner,
    "Voxel_RefinerXL_sign": sign_refiner,
}
