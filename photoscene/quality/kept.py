"""quality.json: the rubric of a run as it was measured last, beside the scene that it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from photoscene.quality.rubric import Quality, Row
from photoscene.quality.showing import quality_to_json
from photoscene.runs.folder import read_scene
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest
from scene.scene_json import scene_to_json
from scene.types import Scene

QUALITY = "quality.json"
FORMAT = "photoscene-quality/1"
ROW = {field.name for field in fields(Row)}


def quality_file(quality: Quality, scene: Scene) -> bytes:
    """The file's content; it names the scene, so that a later one is not taken for it."""
    return encode_json({"format": FORMAT, "scene": _digest(scene), **quality_to_json(quality)})


def kept_quality(folder: Path, scene: Scene) -> Mapping[str, Any] | None:
    """What was measured of this very scene, None where nothing was."""
    value = _read(folder)
    return value if value and value.get("scene") == _digest(scene) else None


def kept_verdict(folder: Path) -> str:
    """The verdict on the scene that a run folder holds, "" for none."""
    if _read(folder) is None:
        return ""
    try:
        value = kept_quality(folder, read_scene(folder))
    except BadInput:
        return ""
    return str(value["verdict"]) if value else ""


def _digest(scene: Scene) -> str:
    return digest(encode_json(scene_to_json(scene)))


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / QUALITY
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) and _is_whole(value) else None


def _is_whole(value: Mapping[str, Any]) -> bool:
    """Whether it is what `quality_file` writes: people may have edited it."""
    rows = value.get("rows")
    return (
        value.get("format") == FORMAT
        and isinstance(value.get("verdict"), str)
        and isinstance(value.get("counts"), dict)
        and isinstance(value.get("remedies"), dict)
        and isinstance(value.get("assumptions"), list)
        and isinstance(rows, list)
        and all(isinstance(row, dict) and ROW.issubset(row) for row in rows)
    )
