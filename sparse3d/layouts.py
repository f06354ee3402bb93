"""Where do official folders keep networks and settings? Their JSON files, read strictly.

A folder has pipeline.json, which names `<stem>.json` (class and arguments) beside
`<stem>.safetensors` for every network (TRELLIS and what descends from it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparse3d.latents import LatentStatistics
from sparse3d.weights import NetworkSource, NetworkSpec, weights_error


def named_source(folder: Path, stem: str) -> NetworkSource:
    """A network by its path in pipeline.json: in the folder, or in another repository's beside it.

    A path of another repository is `owner/name/path`; its folder is looked for where this one's
    owner's folder is, as a mirror of a hub lays them out.
    """
    here, beside = folder / f"{stem}.json", folder.parent.parent / f"{stem}.json"
    config = here if here.is_file() or not beside.is_file() else beside
    described = read_json(config)
    if not isinstance(described.get("name"), str) or not isinstance(described.get("args"), dict):
        raise weights_error(f"{config} is not a network's configuration: no name and args in it")
    spec = NetworkSpec(described["name"], described["args"])
    return NetworkSource(spec, config.with_suffix(".safetensors"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file; WeightsError where it is missing or none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise weights_error(f"the configuration {path} is missing: download it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise weights_error(f"{path} is not JSON ({error}): download it again") from None
    if not isinstance(value, dict):
        raise weights_error(f"{path} is not a JSON object: download it again")
    return value


def latent_statistics(
    pipeline: Path, values: Mapping[str, Any] | None, released: LatentStatistics
) -> LatentStatistics:
    """Latent mean and deviation as stated, else as released."""
    if values is None:
        return released
    try:
        return LatentStatistics(tuple(values["mean"]), tuple(values["std"]))
    except (KeyError, TypeError) as error:
        raise weights_error(f"{pipeline}: a normalisation lacks {error}") from None
