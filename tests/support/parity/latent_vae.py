"""The shape and texture decoders and the shape encoder against the reference."""

from __future__ import annotations

import torch

from pixal3d.latent_vae import (
    DualGridHead,
    LatentConfig,
    ShapeDecoder,
    ShapeEncoder,
    TextureDecoder,
    split_head,
)
from sparse3d.dual_grid import dual_grid_to_mesh
from sparse3d.voxels import Voxels
from support.parity.fixture import Fixture


def config(fixture: Fixture, voxel_channels: int) -> LatentConfig:
    arguments = fixture.arguments
    return LatentConfig(
        voxel_channels=voxel_channels,
        latent_channels=arguments["latent_channels"],
        channels=tuple(arguments["model_channels"]),
        blocks=tuple(arguments["num_blocks"]),
    )


def check_shape_decoder(fixture: Fixture) -> None:
    channels = len(fixture.tensors["weights/output_layer.bias"])
    decoder = ShapeDecoder(config(fixture, channels))
    fixture.load_into(decoder)
    latent, voxels = fixture.input("feats"), Voxels(fixture.input("coords"))
    decoded = decoder(latent, voxels)
    fixture.compare("h", decoded.features)
    fixture.compare("coords", decoded.voxels.coords)
    levels = [voxels.coords]
    for level, logits in enumerate(decoded.subdivisions):
        fixture.compare(f"sub{level}_logits", logits)
        fixture.compare(f"sub{level}_coords", levels[-1])
        levels.append(decoder.upsample(latent, voxels, level + 1).coords)
        fixture.compare(f"upsample_{level + 1}_coords", levels[-1])
    head = split_head(decoded.features)
    fixture.compare("dual_vertices", head.dual_vertices)
    fixture.compare("intersected", head.intersected)
    fixture.compare("split_weight", head.split_weight)
    check_meshes(fixture, decoded.voxels, head)


def check_meshes(fixture: Fixture, voxels: Voxels, head: DualGridHead) -> None:
    start = 0
    for item, length in enumerate(voxels.lengths):
        rows = slice(start, start + length)
        vertices, faces = dual_grid_to_mesh(
            voxels.coords[rows, 1:],
            head.dual_vertices[rows],
            head.intersected[rows],
            head.split_weight[rows],
            fixture.arguments["resolution"],
        )
        fixture.compare(f"mesh{item}_vertices", vertices)
        fixture.compare(f"mesh{item}_faces", faces)
        start += length


def check_texture_decoder(fixture: Fixture) -> None:
    assert fixture.arguments["pred_subdiv"] is False
    decoder = TextureDecoder(config(fixture, fixture.arguments["out_channels"]))
    fixture.load_into(decoder)
    voxels = Voxels(fixture.input("coords"))
    names = [f"guide_sub{level}_logits" for level in range(len(decoder.config.channels) - 1)]
    subdivisions = [fixture.input(name) for name in names]
    features = decoder(fixture.input("feats"), voxels, subdivisions)
    fixture.compare("h", features)
    fixture.compare("attrs", features * 0.5 + 0.5)
    _, fine = decoder.decode(
        fixture.input("feats"), voxels, lambda level, _: subdivisions[level], chunk_bytes=2**20
    )
    fixture.compare("coords", fine.coords)


def check_shape_encoder(fixture: Fixture) -> None:
    channels = fixture.tensors["weights/input_layer.weight"].shape[1]
    encoder = ShapeEncoder(config(fixture, channels))
    fixture.load_into(encoder)
    voxels = Voxels(fixture.input("coords"))
    encoded = encoder(fixture.input("vertices"), fixture.input("intersected"), voxels)
    assert encoded.voxels.coords.dtype == torch.int32
    fixture.compare("coords", encoded.voxels.coords)
    fixture.compare("z", encoded.mean)
    fixture.compare("logvar", encoded.log_variance)


CHECKS = {
    "FlexiDualGridVaeDecoder": check_shape_decoder,
    "SparseUnetVaeDecoder": check_texture_decoder,
    "FlexiDualGridVaeEncoder": check_shape_encoder,
}
