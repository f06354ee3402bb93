"""Which files below a folder hold the networks, and with which settings were they released?

Three layouts are known: the folder of TencentARC/Pixal3D (and of microsoft/TRELLIS.2-4B, whose
flows have no projection), its several-view variant, and ComfyUI's repack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixal3d.latents import SHAPE_LATENTS, TEXTURE_LATENTS
from pixal3d.networks import OFFICIAL
from sparse3d.latents import LatentStatistics
from sparse3d.layouts import latent_statistics, named_source, read_json
from sparse3d.sampling import Sampler
from sparse3d.weights import NetworkSource, NetworkSpec, weights_error

# Our names of the networks, by the key under which pipeline.json lists their files.
PIPELINE_KEYS = {
    "sparse_structure_flow_model": "structure_flow",
    "shape_slat_flow_model_512": "shape_flow_512",
    "shape_slat_flow_model_1024": "shape_flow_1024",
    "tex_slat_flow_model_512": "texture_flow_512",
    "tex_slat_flow_model_1024": "texture_flow_1024",
    "sparse_structure_decoder": "structure_decoder",
    "shape_slat_decoder": "shape_decoder",
    "tex_slat_decoder": "texture_decoder",
}
SAMPLER_KEYS = {
    "sparse_structure_sampler": "structure",
    "shape_slat_sampler": "shape",
    "tex_slat_sampler": "texture",
}
# ComfyUI's repack: (file, prefix of the names in it), below the folder of models.
COMFY_FLOWS = "diffusion_models/pixal3d_bf16.safetensors"
COMFY_FLOWS_SEVERAL_VIEWS = "diffusion_models/pixal3d_multiview_bf16.safetensors"
COMFY_FLOW_PREFIXES = {
    "structure_flow": "model.structure_model.",
    "shape_flow_512": "model.img2shape_512.",
    "shape_flow_1024": "model.img2shape.",
    "texture_flow_1024": "model.shape2txt.",
}
COMFY_DECODERS = {
    "structure_decoder": ("vae/trellis_2_shape_vae_bf16.safetensors", "struct_dec."),
    "shape_decoder": ("vae/trellis_2_shape_vae_bf16.safetensors", "shape_dec."),
    "texture_decoder": ("vae/trellis_2_texture_vae_bf16.safetensors", "txt_dec."),
}
# The image encoder and the upsampler have no place in the official folder; these are looked for.
IMAGE_NETWORKS_FILE = "dino_v3_L_naf_fp32.safetensors"  # of Comfy-Org/Pixal3D: both in one file
DINO_FOLDERS = ("dinov3", "dinov3-vitl16-pretrain-lvd1689m")
NAF_FILES = ("naf.safetensors", "naf_release.pth")  # the latter as valeoai/NAF releases it
NAF_PREFIX = "naf."


@dataclass(frozen=True)
class Checkpoint:
    """A set of networks that work together, with the settings they were released with.

    networks: by our names (`PIPELINE_KEYS`, "image_encoder", "upsampler"). samplers: "structure",
    "shape" and "texture".
    """

    folder: Path
    networks: Mapping[str, NetworkSource]
    samplers: Mapping[str, Sampler] = field(default_factory=lambda: dict(OFFICIAL_SAMPLERS))
    shape_latents: LatentStatistics = SHAPE_LATENTS
    texture_latents: LatentStatistics = TEXTURE_LATENTS


# pipeline.json of TencentARC/Pixal3D.
OFFICIAL_SAMPLERS = {
    "structure": Sampler(12, 5.0, 7.5, 0.7, (0.6, 1.0)),
    "shape": Sampler(12, 3.0, 7.5, 0.5, (0.6, 1.0)),
    "texture": Sampler(12, 3.0, 1.0, 0.0, (0.6, 0.9)),
}


def open_checkpoint(
    folder: Path, several_views: bool = False, image_folder: Path | None = None
) -> Checkpoint:
    """Find the networks below a folder; reads configurations only, no weights.

    several_views asks for the networks trained on several posed views (`_mv`); image_folder has
    image encoder and upsampler, which no official folder has, unless they are in the folder too.
    Raises WeightsError that names the missing file or what is wrong with a configuration.
    """
    image_folder = image_folder or folder
    pipeline = folder / ("pipeline_mv.json" if several_views else "pipeline.json")
    flows = folder / (COMFY_FLOWS_SEVERAL_VIEWS if several_views else COMFY_FLOWS)
    if pipeline.is_file():
        checkpoint = _official(folder, pipeline, image_folder)
    elif flows.is_file():
        checkpoint = _comfy(folder, flows, image_folder)
    else:
        raise weights_error(
            f"no Pixal3D weights in {folder}: expected {pipeline.name} (TencentARC/Pixal3D) or "
            f"{flows.relative_to(folder)} (Comfy-Org/Pixal3D)"
        )
    for source in checkpoint.networks.values():
        if not source.file.is_file():
            raise weights_error(f"the weight file {source.file} is missing: download it again")
    return checkpoint


def _official(folder: Path, pipeline: Path, image_folder: Path) -> Checkpoint:
    """TencentARC/Pixal3D and microsoft/TRELLIS.2-4B: pipeline.json names a pair of files each."""
    arguments = read_json(pipeline).get("args", {})
    networks = {}
    for key, stem in arguments.get("models", {}).items():
        if key in PIPELINE_KEYS:
            networks[PIPELINE_KEYS[key]] = named_source(folder, stem)
    if not networks:
        raise weights_error(f"{pipeline} lists no networks")
    samplers = {
        ours: _sampler(pipeline, arguments[key]["params"])
        for key, ours in SAMPLER_KEYS.items()
        if key in arguments
    }
    return Checkpoint(
        folder,
        networks | _image_networks(image_folder),
        OFFICIAL_SAMPLERS | samplers,
        latent_statistics(pipeline, arguments.get("shape_slat_normalization"), SHAPE_LATENTS),
        latent_statistics(pipeline, arguments.get("tex_slat_normalization"), TEXTURE_LATENTS),
    )


def _comfy(folder: Path, flows: Path, image_folder: Path) -> Checkpoint:
    """Comfy-Org/Pixal3D: all flows in one file, decoders in two; it has no configuration."""
    networks = {
        name: NetworkSource(OFFICIAL[name], flows, prefix)
        for name, prefix in COMFY_FLOW_PREFIXES.items()
    }
    for name, (file, prefix) in COMFY_DECODERS.items():
        networks[name] = NetworkSource(OFFICIAL[name], folder / file, prefix)
    return Checkpoint(folder, networks | _image_networks(image_folder))


def _image_networks(folder: Path) -> dict[str, NetworkSource]:
    """DINOv3 and NAF, in ComfyUI's one file or in Hugging Face's folder and NAF's own file."""
    for both in (folder / IMAGE_NETWORKS_FILE, folder / "clip_vision" / IMAGE_NETWORKS_FILE):
        if both.is_file():
            encoder = NetworkSource(OFFICIAL["image_encoder"], both, "", (NAF_PREFIX,))
            return {
                "image_encoder": encoder,
                "upsampler": NetworkSource(OFFICIAL["upsampler"], both, NAF_PREFIX),
            }
    for name in DINO_FOLDERS:
        config = folder / name / "config.json"
        if config.is_file():
            spec = NetworkSpec("DINOv3ViTModel", read_json(config))
            naf_config = folder / "naf.json"
            naf = read_json(naf_config) if naf_config.is_file() else {}
            files = [folder / name for name in NAF_FILES]
            file = next((file for file in files if file.is_file()), files[0])
            return {
                "image_encoder": NetworkSource(spec, config.with_name("model.safetensors")),
                "upsampler": NetworkSource(NetworkSpec("NAF", naf), file),
            }
    raise weights_error(
        f"no image encoder in {folder}: put {IMAGE_NETWORKS_FILE} of Comfy-Org/Pixal3D there, or "
        f"the folder {DINO_FOLDERS[0]}/ (config.json, model.safetensors) and "
        f"{' or '.join(NAF_FILES)}"
    )


def _sampler(pipeline: Path, values: Mapping[str, Any]) -> Sampler:
    try:
        return Sampler(
            int(values["steps"]),
            float(values["rescale_t"]),
            float(values["guidance_strength"]),
            float(values["guidance_rescale"]),
            (float(values["guidance_interval"][0]), float(values["guidance_interval"][1])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise weights_error(f"{pipeline}: a sampler's settings are wrong: {error}") from None
