"""What Prefect's page shows of a shard: its scenes, their overlays, and how every object fits."""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from httpx import HTTPError
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from scene.types import Uint8

Scenes = Sequence[Mapping[str, Any]]
IMAGES = Path(".batch", "images")  # of the batch's output folder
FIGURES = {"residual, median": "residual_median", "residual, 90 %": "residual_p90",
           "silhouette IoU": "silhouette_iou"}  # fmt: skip
TILE_PX, COLUMNS, GAP_PX, QUALITY = 160, 8, 4, 75  # of a sheet: about 5 kB a scene
CUT = 300  # characters of a reason


def create_artifacts(
    output: Path, summary: Mapping[str, Any], logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Create them for the flow run in force; where the server takes none, the shard goes on.

    output: the batch's folder; summary: as of its batch.json, of the shard's scenes.
    """
    scenes, fits = summary["scenes"], fit_table(output, summary["scenes"])
    sheet = overlay_sheet(output, scenes)
    makers: list[Callable[[], Any]] = [
        lambda: create_markdown_artifact(scene_list(output, scenes), "scenes", "Scenes"),
    ]
    if fits:
        makers.append(lambda: create_table_artifact(fits, "fits", "How objects fit"))
    if sheet:
        makers.append(lambda: create_image_artifact(sheet, "overlays", "Overlays, in this order"))
    try:
        for make in makers:
            make()
    except HTTPError as error:
        logger.warning(f"the server took no artifacts ({type(error).__name__}: {error})")


def scene_list(output: Path, scenes: Scenes) -> str:
    """A table in Markdown: every scene with its state, grade, and reason."""
    lines = ["| | scene | state | grade | objects | reason |", "|---|---|---|---|---|---|"]
    for number, scene in enumerate(scenes, 1):
        failures = [f"{o['name']}: {o['failure']}" for o in scene["objects"] if o["failure"]]
        reason = "; ".join(filter(None, [scene["reason"], *failures]))[:CUT]
        cells = [number, scene["name"] or scene["photo"], scene["state"], scene["grade"],
                 len(scene["objects"]), reason]  # fmt: skip
        lines.append(f"| {' | '.join(_plain(str(cell)) for cell in cells)} |")
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


def overlay_sheet(output: Path, scenes: Scenes) -> str:
    """All overlays on one image, as a data URL that needs no other server; "" for none.

    A scene without one keeps its place, so that the n-th of the list is the n-th here.
    """
    overlays = [_small(output / IMAGES / f"{s['name']}.overlay.jpg") for s in scenes if s["name"]]
    if all(image is None for image in overlays):
        return ""
    step = TILE_PX + GAP_PX
    columns = min(COLUMNS, len(overlays))
    rows = math.ceil(len(overlays) / columns)
    sheet = np.full((rows * step, columns * step, 3), 255, np.uint8)
    for index, image in enumerate(overlays):
        if image is not None:
            y, x = index // columns * step, index % columns * step
            sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    encoded = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _small(path: Path) -> Uint8 | None:
    image = cv2.imread(str(path)) if path.exists() else None
    if image is None:
        return None
    scale = TILE_PX / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


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
