"""What Prefect's page shows of a shard: its scenes, their overlays, and how every object fits."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from httpx import HTTPError
from prefect.artifacts import create_markdown_artifact, create_table_artifact

Scenes = Sequence[Mapping[str, Any]]
IMAGES = Path(".batch", "images")  # of the batch's output folder
FIGURES = {"residual, median": "residual_median", "residual, 90 %": "residual_p90",
           "silhouette IoU": "silhouette_iou"}  # fmt: skip
SIDE_PX, QUALITY = 160, 75  # of an overlay: about 5 kB
CUT = 300  # characters of a reason


def create_artifacts(
    output: Path, summary: Mapping[str, Any], logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Create them for the flow run in force; where the server takes none, the shard goes on.

    output: the batch's folder; summary: as of its batch.json, of the shard's scenes.
    """
    scenes = summary["scenes"]
    fits = fit_table(output, scenes)
    try:
        create_markdown_artifact(scene_list(output, scenes), "scenes", "Scenes of this shard")
        if fits:
            create_table_artifact(fits, "fits", "How the objects of this shard fit")
    except HTTPError as error:
        logger.warning(f"the server took no artifacts ({type(error).__name__}: {error})")


def scene_list(output: Path, scenes: Scenes) -> str:
    """A table in Markdown: every scene with its overlay, state, grade, and reason."""
    lines = ["| overlay | scene | state | grade | objects | reason |", "|---|---|---|---|---|---|"]
    for scene in scenes:
        failures = [f"{o['name']}: {o['failure']}" for o in scene["objects"] if o["failure"]]
        reason = "; ".join(filter(None, [scene["reason"], *failures]))[:CUT]
        cells = [scene["name"] or scene["photo"], scene["state"], scene["grade"],
                 len(scene["objects"]), reason]  # fmt: skip
        overlay = _overlay(output / IMAGES / f"{scene['name']}.overlay.jpg")
        lines.append(f"| {overlay} | {' | '.join(_plain(str(cell)) for cell in cells)} |")
    return "\n".join([*lines, "", f"Run folders and page: `{output}`"])


def fit_table(output: Path, scenes: Scenes) -> list[dict[str, Any]]:
    """A row per object: its grade, figures and failure."""
    rows = []
    for scene in scenes:
        fits = _fits(output / scene["name"] / "scene.json") if scene["objects"] else {}
        for o in scene["objects"]:
            fit = fits.get(o["name"]) or {}
            figures = {title: _rounded(fit.get(name)) for title, name in FIGURES.items()}
            rows.append({"scene": scene["name"], "object": o["name"], "grade": o["grade"],
                         **figures, "failure": o["failure"][:CUT]})  # fmt: skip
    return rows


def _overlay(path: Path) -> str:
    """A small image, in the text itself: no other server need have it. "" where there is none."""
    image = cv2.imread(str(path)) if path.exists() else None
    if image is None:
        return ""
    scale = SIDE_PX / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return f"![overlay](data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()})"


def _fits(path: Path) -> dict[str, Any]:
    """The fit report of every object of a run folder by name."""
    try:
        return {o["name"]: o["fit"] for o in json.loads(path.read_bytes())["objects"]}
    except (OSError, json.JSONDecodeError, KeyError):
        return {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _plain(text: str) -> str:
    """Text as it is, in a cell of a table."""
    return "".join(f"\\{c}" if c in "|*_`<>[]\\" else c for c in " ".join(text.split()))
