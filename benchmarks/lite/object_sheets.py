"""How do the lite generator's objects look from where no photo was taken? Contact sheets.

A row per object: the photo, the object drawn over it, from 50 degrees right and left, from behind.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.gallery import (
    BACKGROUND,
    Entry,
    caption_strip,
    photo_entries,
    scene_entries,
)
from benchmarks.lite.sources import Sources
from flows.server import prefect_api
from photoscene.inputs.request import build_request
from photoscene.runs.reconstruction import reconstruct_photo
from photoscene.views.rendering import image_from, stage_of
from photoscene.views.viewpoints import Direction
from scene.cameras import project
from scene.placed import PlacedMesh, in_camera_frame, placed_meshes
from scene.raycast import render
from scene.store import Store
from scene.types import Camera, Float64, Photo, Scene, Uint8

FIGURES = Path("docs/lite_generator")
PANEL_PX, GAP_PX = 168, 4
MARGIN = 1.15  # picture around an object over its extent
DIRECTIONS = (Direction(50, 30), Direction(-50, 30), Direction(180, 30))


def object_sheet_list(sources: Sources) -> str:
    """Draw the pictures; a line and a picture each."""
    with tempfile.TemporaryDirectory() as work, prefect_api():
        sheets = draw_sheets(sources.data, sources.shared, FIGURES, Store(Path(work)))
    lines = []
    for file, said in sheets:
        lines += [f"{said}.", ""] + ([f"![{file}](lite_generator/{file})", ""] if file else [])
    return "\n".join(lines).rstrip()


def draw_sheets(data: Path, shared: Path, out: Path, store: Store) -> list[tuple[str, str]]:
    """Draw every photo and scene; returns (file, what is said of it)."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for entry in photo_entries(shared) + scene_entries(data):
        arguments = replace(entry.arguments, settings=("generate.backend=lite",))
        scene, _ = reconstruct_photo(build_request(arguments, store), store)
        placed = placed_meshes(scene, store)
        if scene.camera is None or not placed:
            drawn.append(("", f"{entry.title}: no object could be placed"))
            continue
        photo = store.load(scene.photo, Photo).rgb
        rows = [_row(photo, scene, scene.camera, one) for one in placed]
        caption = caption_strip(_caption(entry), rows[0].shape[1])
        name = f"{entry.name}.png"
        sheet = Image.fromarray(np.concatenate([*rows, caption]))
        # A palette of 256 colours is enough to judge shapes by, and a third of the bytes.
        sheet.quantize(256, Image.Quantize.MEDIANCUT).save(out / name, optimize=True)
        drawn.append((name, f"{entry.title}: {len(placed)} objects. Photo: {entry.licence}"))
    return drawn


def _caption(entry: Entry) -> str:
    return f"{entry.title}, given: {entry.given}   photo | overlay | right | left | behind"


def _row(photo: Uint8, scene: Scene, camera: Camera, one: PlacedMesh) -> Uint8:
    """(H, W, 3): the five pictures of one object."""
    window, cropped = _window(camera, one.camera_vertices)
    x0, y0, side = window
    around = cv2.copyMakeBorder(photo, side, side, side, side, cv2.BORDER_REPLICATE)
    piece = around[y0 + side : y0 + 2 * side, x0 + side : x0 + 2 * side]
    size = (PANEL_PX, PANEL_PX)
    seen = np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), np.uint8)
    drawn, _, _ = render(in_camera_frame([one]), cropped)
    overlay = np.where(drawn[..., 3:] > 0, drawn[..., :3], seen // 2 + 110)
    stage = stage_of(scene, [one])
    panels = [seen, overlay.astype(np.uint8)]
    panels += [image_from(stage, direction, size, BACKGROUND) for direction in DIRECTIONS]
    gap = np.full((PANEL_PX, GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for p in panels for part in (gap, p)][1:], axis=1)
    return np.concatenate([row, np.full((GAP_PX, row.shape[1], 3), 255, np.uint8)])


def _window(camera: Camera, vertices: Float64) -> tuple[tuple[int, int, int], Camera]:
    """A square (x0, y0, side) of the photo around an object, and its camera at the panel's size."""
    pixels = project(camera, vertices)
    low, high = pixels.min(0), pixels.max(0)
    side = max(8, int(math.ceil(MARGIN * float((high - low).max()))))
    x0, y0 = (np.floor((low + high) / 2) - side // 2).astype(int)
    scale = PANEL_PX / side
    cropped = Camera(
        PANEL_PX, PANEL_PX, camera.fx_px * scale, camera.fy_px * scale,
        (camera.cx_px - x0) * scale, (camera.cy_px - y0) * scale,
    )  # fmt: skip
    x0 = int(np.clip(x0, -side, camera.width))
    y0 = int(np.clip(y0, -side, camera.height))
    return (x0, y0, side), cropped
