"""Which files below a folder hold the networks, and with which settings were they released?

A folder of wushuang98/Direct3D-S2 (config.yaml and five files, converted by `conversion`), or one
that has it below a release's name. With `back_projection.safetensors` beside them the networks are
pixel-aligned as in Pixal3D's paper; that file's layout is ours, and none is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from direct3d_s2.schedule import Sampler
from sparse3d.dinov2 import KIND as DINO
from sparse3d.errors import BadConfiguration
from sparse3d.layouts import read_json
from sparse3d.weights import NetworkSource, NetworkSpec, weights_error

RELEASE_FOLDERS = ("direct3d-s2-v-1-1", "direct3d-s2-v-1-0")
# Our names, by the part of config.yaml: file, and the names of its tensors that belong to it.
PARTS = {
    "dense_dit": ("dense_dit", "model_dense", "dit."),
    "dense_vae": ("dense_decoder", "model_dense", "vae.decoder."),
    "sparse_dit_512": ("sparse_dit_512", "model_sparse_512", "dit."),
    "sparse_vae_512": ("sdf_decoder_512", "model_sparse_512", "vae.decoder."),
    "sparse_dit_1024": ("sparse_dit_1024", "model_sparse_1024", "dit."),
    "sparse_vae_1024": ("sdf_decoder_1024", "model_sparse_1024", "vae.decoder."),
    "refiner": ("refiner", "model_refiner", "refiner."),
    "refiner_1024": ("refiner_1024", "model_refiner_1024", "refiner."),
}
# Of the pipeline's own defaults; the shift is in config.yaml.
SAMPLERS = {
    "dense": ("dense_scheduler", Sampler(50, 7.0, 6.0)),
    "sparse_512": ("sparse_scheduler_512", Sampler(30, 7.0, 6.0)),
    "sparse_1024": ("sparse_scheduler_1024", Sampler(15, 7.0, 8.0)),
}
DINO_FOLDERS = ("dinov2", "dinov2-with-registers-large")
BACK_PROJECTION = "back_projection.safetensors"
NAF_FILES = ("naf.safetensors", "naf_release.pth")


@dataclass(frozen=True)
class Checkpoint:
    """Networks that work together, by our names, and their samplers ("dense", "sparse_512",
    "sparse_1024"). pixel_aligned: whether they are conditioned by back-projection."""

    folder: Path
    networks: Mapping[str, NetworkSource]
    samplers: Mapping[str, Sampler]

    @property
    def pixel_aligned(self) -> bool:
        return "back_projection" in self.networks

    @property
    def image_size(self) -> int:
        """Pixels along a side of what the image encoder reads."""
        return self.networks["image_encoder"].spec.arguments.get("image_size", 518)


def open_checkpoint(folder: Path, image_folder: Path | None = None) -> Checkpoint:
    """Find the networks below a folder; reads configurations only, no weights.

    image_folder has the image encoder (and NAF, where it is needed), unless the folder does. Raises
    WeightsError that names the missing file, or what is wrong with the configuration.
    """
    home = release_folder(folder)
    config = _read_yaml(home / "config.yaml")
    networks = {}
    for part, (name, stem, prefix) in PARTS.items():
        spec = _spec(home, part, config)
        networks[name] = NetworkSource(spec, _weight_file(home, stem), prefix)
    samplers = {
        stage: _sampler(home, part, config, released)
        for stage, (part, released) in SAMPLERS.items()
    }
    networks["image_encoder"] = _dino([home, folder, image_folder or folder])
    if (home / BACK_PROJECTION).is_file():
        networks |= _back_projection(home, networks, [home, folder, image_folder or folder])
    return Checkpoint(home, networks, samplers)


def release_folder(folder: Path) -> Path:
    """The folder itself or the newest release in it; WeightsError where there is none."""
    for home in (folder, *(folder / name for name in RELEASE_FOLDERS)):
        if (home / "config.yaml").is_file():
            return home
    raise weights_error(
        f"no Direct3D-S2 weights in {folder}: expected config.yaml of wushuang98/Direct3D-S2, or "
        f"{RELEASE_FOLDERS[0]}/config.yaml"
    )


def _weight_file(home: Path, stem: str) -> Path:
    file = home / f"{stem}.safetensors"
    if file.is_file():
        return file
    if (home / f"{stem}.ckpt").is_file():
        raise weights_error(
            f"{home / stem}.ckpt is a pickle that is not converted yet: "
            "photoscene models pull, or direct3d_s2.convert"
        )
    raise weights_error(f"the weight file {file} is missing: download it again")


def _spec(home: Path, part: str, config: Mapping[str, Any]) -> NetworkSpec:
    """Class and parameters of a part; the class's module does not matter."""
    described = config.get(part)
    target = described.get("target") if isinstance(described, dict) else None
    if not isinstance(described, dict) or not isinstance(target, str):
        raise weights_error(f"{home / 'config.yaml'} has no {part} with a target")
    parameters = described.get("params") or {}
    if not isinstance(parameters, dict):
        raise weights_error(f"{home / 'config.yaml'}: {part}: params are no names and values")
    return NetworkSpec(target.rsplit(".", 1)[-1], parameters)


def _sampler(home: Path, part: str, config: Mapping[str, Any], released: Sampler) -> Sampler:
    parameters = _spec(home, part, config).arguments
    try:
        shift = float(parameters.get("shift", released.shift))
        return Sampler(released.steps, released.guidance, shift)
    except (TypeError, ValueError, BadConfiguration) as error:
        raise weights_error(f"{home / 'config.yaml'}: {part}: {error}") from None


def _dino(folders: list[Path]) -> NetworkSource:
    """In a folder of its own below one of these, or in the last one itself."""
    for folder in folders:
        for name in (*DINO_FOLDERS, "") if folder == folders[-1] else DINO_FOLDERS:
            config = folder / name / "config.json"
            if config.is_file():
                spec = NetworkSpec(DINO, read_json(config))
                return NetworkSource(spec, config.with_name("model.safetensors"))
    raise weights_error(
        f"no image encoder in {folders[-1]}: put the folder {DINO_FOLDERS[0]}/ (config.json, "
        "model.safetensors of facebook/dinov2-with-registers-large) there"
    )


def _back_projection(
    home: Path, networks: Mapping[str, NetworkSource], folders: list[Path]
) -> dict[str, NetworkSource]:
    """Its sizes are those of the networks that it goes between; NAF is needed with it."""
    widths = [
        networks[name].spec.arguments.get("model_channels")
        for name in ("dense_dit", "sparse_dit_512", "sparse_dit_1024")
    ]
    channels = networks["image_encoder"].spec.arguments.get("hidden_size")
    spec = NetworkSpec("BackProjection", {"widths": widths, "feature_channels": channels})
    found = {"back_projection": NetworkSource(spec, home / BACK_PROJECTION)}
    for folder in folders:
        for file in (folder / name for name in NAF_FILES):
            if file.is_file():
                sizes = folder / "naf.json"
                arguments = read_json(sizes) if sizes.is_file() else {}
                return found | {"upsampler": NetworkSource(NetworkSpec("NAF", arguments), file)}
    raise weights_error(f"no {' or '.join(NAF_FILES)} in {folders[-1]}: {BACK_PROJECTION} needs it")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise weights_error(f"{path} is not YAML ({line}): download it again") from None
    if not isinstance(value, dict):
        raise weights_error(f"{path} has no parts: download it again")
    return value
