"""The structure decoder and encoder against the reference."""

from __future__ import annotations

from sparse3d.structure_vae import (
    StructureConfig,
    StructureDecoder,
    StructureEncoder,
    occupied_voxels,
)
from support.parity.fixture import Fixture


def config(fixture: Fixture, image_channels: str) -> StructureConfig:
    arguments = fixture.arguments
    return StructureConfig(
        image_channels=arguments[image_channels],
        latent_channels=arguments["latent_channels"],
        channels=tuple(arguments["channels"]),
        blocks=arguments["num_res_blocks"],
        middle_blocks=arguments["num_res_blocks_middle"],
    )


def check_decoder(fixture: Fixture) -> None:
    decoder = fixture.load_into(StructureDecoder(config(fixture, "out_channels")))
    logits = decoder(fixture.input("z"))
    fixture.compare("logits", logits)
    fixture.compare("coords_gt0", occupied_voxels(logits).coords)
    fixture.compare("coords_gt0_pooled_by_2", occupied_voxels(logits, pool=2).coords)


def check_encoder(fixture: Fixture) -> None:
    encoder = fixture.load_into(StructureEncoder(config(fixture, "in_channels")))
    mean, log_variance = encoder(fixture.input("occ"))
    fixture.compare("z", mean)
    fixture.compare("logvar", log_variance)


CHECKS = {"SparseStructureDecoder": check_decoder, "SparseStructureEncoder": check_encoder}
