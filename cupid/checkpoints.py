"""Which files below a folder hold the networks, and with which settings were they released?

The layout of hbb1/Cupid: pipeline.json names a pair of files for each network. Two networks are
not named there: the encoder of structured latents, which the reference takes from
microsoft/TRELLIS-image-large, and DINOv2, for which the folder of
facebook/dinov2-with-registers-large is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparse3d.dinov2 import KIND as DINOV2_KIND
from sparse3d.latents import LatentStatistics
from sparse3d.layouts import latent_statistics, named_source, read_json
from sparse3d.sampling import Sampler
from sparse3d.weights import NetworkSource, NetworkSpec, weights_error

# Our names of the networks, by the key under which pipeline.json lists their files. Its decoders to
# Gaussians and radiance fields are not read.
PIPELINE_KEYS = {
    "sparse_structure_flow_model": "structure_flow",
    "sparse_structure_decoder": "structure_decoder",
    "sparse_structure_uv_decoder": "uv_decoder",
    "slat_flow_model": "latent_flow",
    "slat_decoder_mesh": "mesh_decoder",
}
SAMPLER_KEYS = {"sparse_structure_sampler": "structure", "slat_sampler": "latent"}
ENCODER_FILES = "ckpts/slat_enc_*.json"
ENCODER = "microsoft/TRELLIS-image-large/ckpts/slat_enc_swin8_B_64l8_fp16"
DINO_FOLDER = "dinov2"
# Paper: 25 steps, guidance 7.5 and 3 as (1 + s) conditional - s unconditional; interval and
# rescaling are those of TRELLIS-image-large. What pipeline.json says goes before them.
OFFICIAL_SAMPLERS = {
    "structure": Sampler(25, 3.0, 8.5, 0.0, (0.5, 1.0)),
    "latent": Sampler(25, 3.0, 4.0, 0.0, (0.5, 1.0)),
}
# `slat_normalization` of TRELLIS-image-large, with which Cupid was trained (configs/generation).
LATENTS = LatentStatistics(
    mean=(
        -2.1687545776367188, -0.004347046371549368, -0.13352349400520325, -0.08418072760105133,
        -0.5271206498146057, 0.7238689064979553, -1.1414450407028198, 1.2039363384246826,
    ),
    std=(
        2.377650737762451, 2.386378288269043, 2.124418020248413, 2.1748552322387695,
        2.663944721221924, 2.371192216873169, 2.6217446327209473, 2.684523105621338,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A set of networks that work together, with the settings they were released with.

    networks: by our names (`PIPELINE_KEYS`, "latent_encoder", "image_encoder"). samplers:
    "structure" and "latent".
    """

    folder: Path
    networks: Mapping[str, NetworkSource]
    samplers: Mapping[str, Sampler] = field(default_factory=lambda: dict(OFFICIAL_SAMPLERS))
    latents: LatentStatistics = LATENTS


def open_checkpoint(folder: Path, image_folder: Path | None = None) -> Checkpoint:
    """Find the networks below a folder; reads configurations only, no weights.

    image_folder: that of DINOv2 (config.json, model.safetensors), `dinov2` in the folder without.
    Raises WeightsError that names the missing file or what is wrong with a configuration.
    """
    pipeline = folder / "pipeline.json"
    if not pipeline.is_file():
        raise weights_error(
            f"no Cupid weights in {folder}: expected pipeline.json, as in hbb1/Cupid"
        )
    arguments = read_json(pipeline).get("args", {})
    networks = {
        PIPELINE_KEYS[key]: named_source(folder, stem)
        for key, stem in arguments.get("models", {}).items()
        if key in PIPELINE_KEYS
    }
    missing = [key for key, name in PIPELINE_KEYS.items() if name not in networks]
    if missing:
        raise weights_error(f"{pipeline} lists no {', '.join(missing)}: is it Cupid's?")
    networks["latent_encoder"] = _latent_encoder(folder)
    networks["image_encoder"] = _image_encoder(image_folder or folder / DINO_FOLDER)
    for source in networks.values():
        if not source.file.is_file():
            raise weights_error(f"the weight file {source.file} is missing: download it again")
    samplers = {
        ours: _sampler(pipeline, arguments[key], OFFICIAL_SAMPLERS[ours])
        for key, ours in SAMPLER_KEYS.items()
        if key in arguments
    }
    latents = latent_statistics(pipeline, arguments.get("slat_normalization"), LATENTS)
    return Checkpoint(folder, networks, OFFICIAL_SAMPLERS | samplers, latents)


def _latent_encoder(folder: Path) -> NetworkSource:
    """In the folder, or in TRELLIS' own beside it, as a mirror of the hub lays them out."""
    own = sorted(folder.glob(ENCODER_FILES))
    stem = str(own[0].relative_to(folder).with_suffix("")) if own else ENCODER
    if not own and not (folder.parent.parent / f"{ENCODER}.json").is_file():
        raise weights_error(
            f"no latent encoder in {folder}: put ckpts/slat_enc_swin8_B_64l8_fp16.json and "
            ".safetensors of microsoft/TRELLIS-image-large into its ckpts/"
        )
    return named_source(folder, stem)


def _image_encoder(folder: Path) -> NetworkSource:
    config = folder / "config.json"
    if not config.is_file():
        raise weights_error(
            f"no image encoder in {folder}: put config.json and model.safetensors of "
            "facebook/dinov2-with-registers-large there"
        )
    spec = NetworkSpec(DINOV2_KIND, read_json(config))
    return NetworkSource(spec, config.with_name("model.safetensors"))


def _sampler(pipeline: Path, described: Mapping[str, Any], official: Sampler) -> Sampler:
    """`cfg_strength` s is (1 + s) conditional - s unconditional; without `cfg_interval` guidance
    acts at all times."""
    try:
        values = described["params"]
        low, high = values.get("cfg_interval", (0.0, 1.0))
        return Sampler(
            int(values.get("steps", official.steps)),
            float(values.get("rescale_t", 1.0)),
            1 + float(values["cfg_strength"]),
            0.0,
            (float(low), float(high)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise weights_error(f"{pipeline}: a sampler's settings are wrong: {error}") from None
