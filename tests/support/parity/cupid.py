"""Cupid: the flows of both stages, the UV cube, and what the pose lets each voxel see."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from cupid.conditioning import sample_map, voxel_uv
from cupid.context import ImageContext
from cupid.latent_flow import LatentFlow
from cupid.networks import build_network
from cupid.structure_flow import StructureFlow
from cupid.uv_cube import read_uv_cube
from sparse3d.structure_vae import StructureDecoder, occupied_voxels
from sparse3d.voxels import Voxels, coarsen, pool_mean_with_zero
from support.parity.fixture import Fixture

GLOBAL_TOKENS, PATCHES = 5, 37


def structure_flow(fixture: Fixture) -> None:
    """The dense network over all cells of the grid."""
    x, side = fixture.input("x"), fixture.arguments["resolution"]
    flow = cast(StructureFlow, build_network("SparseStructureFlowModel", fixture.arguments))
    fixture.load_into(flow)
    prepared = flow.prepare([ImageContext(tokens) for tokens in fixture.input("cond")])
    rows = x.flatten(2).transpose(1, 2).flatten(0, 1)
    v = flow(rows, fixture.input("t"), prepared)
    dense = v.unflatten(0, (len(x), -1)).transpose(1, 2).reshape(len(x), -1, side, side, side)
    fixture.compare("v", dense)


def uv_decoding(fixture: Fixture) -> None:
    """Both dense decoders, and the three ways to say which voxels have a uv."""
    occupancy, cube = _decoded(fixture)
    fixture.compare("ss_logits", occupancy)
    fixture.compare("suv_logits", cube)
    fixture.compare("coords", occupied_voxels(occupancy).coords)
    many = fixture.sidecar["expanded"]
    cases = {
        "": read_uv_cube(occupancy, cube),
        "own_": read_uv_cube(occupancy, cube, own_mask=True),
        "expanded_": read_uv_cube(
            occupancy, cube, False, many["expand_min_num_activated"], many["expand_threshold_step"]
        ),
    }
    for prefix, found in cases.items():
        fixture.compare(f"{prefix}uv_coords", found.voxels.coords)
        fixture.compare(f"{prefix}uv", found.uv)


def _decoded(fixture: Fixture) -> tuple[Tensor, Tensor]:
    """Occupancy logits and the cube's, by decoders with every weight of the file."""
    z, logits, first = fixture.input("z"), [], 0
    for name in ("ss", "uv"):
        arguments = fixture.sidecar[f"{name}_kwargs"]
        decoder = cast(StructureDecoder, build_network("SparseStructureDecoder", arguments))
        fixture.load_into(decoder, f"weights/{name}.")
        width = arguments["latent_channels"]
        logits.append(decoder(z[:, first : first + width]))
        first += width
    return logits[0], logits[1]


def latent_flow(fixture: Fixture) -> None:
    """The sparse network, with what each voxel sees of the image where its pose projects it."""
    voxels, tokens = Voxels(fixture.input("coords")), _tokens(fixture)
    flow = cast(LatentFlow, build_network(fixture.kind.removeprefix("Cupid/"), fixture.arguments))
    own = tuple(n for n in fixture.part("weights") if n.startswith("standin_slat_enc."))
    fixture.load_into(flow, unused=own)
    uv, encoded, visual = [], [], []
    for item, coords in enumerate(voxels.coords[:, 1:].split(voxels.lengths)):
        camera = fixture.input("intrinsic")[item], fixture.input("extrinsic")[item]
        uv.append(voxel_uv(coords, fixture.arguments["resolution"], *camera))
        visual.append(flow.visual_features(fixture.input("visual_cond")[item], uv[-1]))
        encoded.append(_stand_in(fixture, tokens[item], uv[-1]))
    fixture.compare("uv", torch.cat(uv))
    fixture.compare("visual_feat", torch.cat(visual))
    fixture.compare("latent_cond", torch.cat(encoded))
    x = torch.cat([fixture.input("feats"), torch.cat(encoded), torch.cat(visual)], 1)
    prepared = flow.prepare(voxels, [ImageContext(one) for one in tokens])
    fixture.compare("v", flow(x, fixture.input("t"), prepared))
    origin = coarsen(voxels)
    fixture.compare("downsample_coords", origin.parents.coords)
    fixture.compare("downsample_feats", pool_mean_with_zero(fixture.input("feats"), origin))


def _tokens(fixture: Fixture) -> Tensor:
    """The image's tokens by the sidecar's formula; the second item's global ones are zero."""
    b, n, c = torch.meshgrid(
        torch.arange(2.0).double(),
        torch.arange(GLOBAL_TOKENS + PATCHES**2).double(),
        torch.arange(fixture.arguments["cond_channels"]).double(),
        indexing="ij",
    )
    tokens = torch.sin(0.37 * n + 0.11 * c + 1.3 * b + 0.0007 * n * c).float()
    tokens[1, :GLOBAL_TOKENS] = 0
    return tokens


def _stand_in(fixture: Fixture, tokens: Tensor, uv: Tensor) -> Tensor:
    """The fixture's linear layer in place of the latent encoder; zero without an image."""
    patches = tokens[GLOBAL_TOKENS:].T.unflatten(1, (PATCHES, PATCHES))
    weights = fixture.part("weights/standin_slat_enc.")
    seen = sample_map(patches, uv) @ weights["weight"].T + weights["bias"]
    return seen * float(tokens[:GLOBAL_TOKENS].any())


CHECKS = {
    "Cupid/SparseStructureFlowModel": structure_flow,
    "Cupid/SparseStructureDecoder": uv_decoding,
    "Cupid/ElasticVisualLatentConditioningSLatFlowModel": latent_flow,
}
