"""What becomes of a photo alone, seen from all sides, and what does a person say of it?

A person's line is in verdicts.yaml, with the digest of the sheet that was looked at: on another
sheet it is shown as what was said of an earlier one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.gallery import BACKGROUND, Entry, caption_strip, photo_entries, reduced
from benchmarks.lite.runs import run_scene, workshop
from benchmarks.lite.sources import Sources
from photoscene.views.rendering import image_from, stage_of
from photoscene.views.viewpoints import Direction
from scene.placed import placed_meshes
from scene.png import decode_png
from scene.store import Store
from scene.types import Photo, Scene, Uint8

FIGURES = Path("docs/lite_photos")
VERDICTS = Path(__file__).with_name("verdicts.yaml")
PANEL_HEIGHT_PX, GAP_PX = 220, 4
DIRECTIONS = (Direction(35, 30), Direction(-35, 30), Direction(180, 30))
DIGEST = 12  # hexadecimal digits that name a sheet


@dataclass(frozen=True)
class Verdict:
    """What a person said of a sheet, and the digest of the sheet that it was said of."""

    line: str
    sheet: str


def photo_sheet_list(sources: Sources) -> str:
    """Draw every photo's sheet; per photo what was found, what was said, and the picture."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    verdicts, lines = read_verdicts(VERDICTS), []
    for entry in photo_entries(sources.shared)[: sources.count]:
        with workshop() as at:
            scene = run_scene(replace(entry.arguments, masks=()), at).scene
            image = None if scene is None else draw_sheet(scene, at.store, entry.title)
        if scene is None or image is None:
            lines += [f"**{entry.title}**: no object could be placed.", ""]
            continue
        file = FIGURES / f"{entry.name}.png"
        # A palette of 256 colours is enough to judge shapes by, and a third of the bytes.
        sheet = Image.fromarray(image).quantize(256, Image.Quantize.MEDIANCUT)
        sheet.save(file, optimize=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:DIGEST]
        print(f"{entry.name}: sheet {digest}", flush=True)
        verdict = shown_verdict(verdicts.get(entry.name), digest)
        lines += [f"**{entry.title}**: {_found(scene, entry)} {verdict}", ""]
        lines += [f"![{entry.name}]({FIGURES.name}/{file.name})", ""]
    return "\n".join(lines).rstrip()


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The lines by the photos' names."""
    listed: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return {name: Verdict(" ".join(one["line"].split()), one["sheet"])
            for name, one in listed.items()}  # fmt: skip


def shown_verdict(verdict: Verdict | None, digest: str) -> str:
    """A person's line; marked where it was said of another sheet."""
    if verdict is None:
        return "No verdict yet."
    return verdict.line if verdict.sheet == digest else f"Of an earlier sheet: {verdict.line}"


def draw_sheet(scene: Scene, store: Store, title: str) -> Uint8 | None:
    """(H, W, 3): photo, overlay, from the right, from the left, from behind; None without any
    placed object."""
    placed = placed_meshes(scene, store)
    if not placed or scene.camera is None or scene.overlay is None:
        return None
    photo = store.load(scene.photo, Photo).rgb
    overlay = decode_png(store.read(scene.overlay), "RGB")
    size = (round(PANEL_HEIGHT_PX * photo.shape[1] / photo.shape[0]), PANEL_HEIGHT_PX)
    stage = stage_of(scene, placed)
    panels = [reduced(image, size) for image in (photo, overlay)]
    panels += [image_from(stage, direction, size, BACKGROUND) for direction in DIRECTIONS]
    gap = np.full((PANEL_HEIGHT_PX, GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for p in panels for part in (gap, p)][1:], axis=1)
    caption = f"{title}, nothing given   photo | overlay | 35 degrees right | left | behind"
    return np.concatenate([row, caption_strip(caption, row.shape[1])])


def _found(scene: Scene, entry: Entry) -> str:
    """How many objects were placed, what they are called, and how many there are."""
    names = [o.label or "?" for o in scene.objects if o.camera_from_object is not None]
    return f"{len(names)} objects ({', '.join(names)}); the photo has {entry.objects}."
