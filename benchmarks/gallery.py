"""What do the photos and known scenes look like after reconstruction? Contact sheets for people.

`python -m benchmarks.gallery` reconstructs each with the lite profile and draws one row per photo:
the photo, the scene laid over it, the scene from the right, the scene from the left and above.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.known_scenes import GROUND_TRUTH, scene_folders
from benchmarks.narrow import narrow
from photoscene.cli.errors import keep_quiet, store_root
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import reconstruct_photo
from photoscene.views.rendering import image_from, stage_of
from photoscene.views.viewpoints import Direction
from scene.errors import BadInput, CannotPlace, ObjectError
from scene.placed import placed_meshes
from scene.png import decode_png
from scene.store import Store
from scene.types import Photo, Scene, Uint8

PROFILE = "lite"
SCENE_LICENCE = "own render; objects Google Scanned Objects CC BY 4.0 and robosuite MIT, light CC0"
PANEL_HEIGHT_PX, CAPTION_HEIGHT_PX, CAPTION_FONT_PX, GAP_PX = 320, 28, 15, 4
BACKGROUND = (232, 232, 232)  # light grey
# To the right and a little higher than most photos; to the left and from high up.
DIRECTIONS = (Direction(35, 30), Direction(-35, 50))


@dataclass(frozen=True)
class Entry:
    """One photo to show: what is given with it, in arguments and in words, how many objects it is
    known to have, and its licence."""

    name: str
    title: str
    arguments: Arguments
    given: str
    objects: int
    licence: str


@dataclass(frozen=True)
class Sheet:
    """What became of an entry; failure is None when there is a picture."""

    entry: Entry
    figures: str = ""
    failure: str | None = None
    lost: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the gallery; returns the exit status."""
    options = _options(argv)
    entries = photo_entries(options.shared) + scene_entries(options.data)
    if not entries:
        print(f"no scenes below {options.data}/scenes: nothing drawn")
        return 0
    keep_quiet()
    from flows.server import prefect_api

    store = Store(Path(store_root(options.store)))
    options.out.mkdir(parents=True, exist_ok=True)
    with prefect_api():
        sheets = [show_entry(entry, store, options.out) for entry in entries]
    (options.out / "README.md").write_text(gallery_page(sheets), "utf-8")
    return 0


def photo_entries(shared: Path) -> list[Entry]:
    """The photos with what is known of them: their masks if there are any, else nothing."""
    index = shared / "data" / "photos" / "index.json"
    if not index.exists():
        print(f"{index.parent} is absent (photos that are not in the repository): scenes only")
        return []
    entries = []
    for value in json.loads(index.read_text("utf-8")):
        photo = index.parent / value["file"]
        masks = sorted(photo.with_suffix("").glob("mask_*.png"))
        given = f"{len(masks)} masks" if masks else "nothing (automatic mode)"
        arguments = Arguments(photo, masks=masks, profile=PROFILE)
        count, licence = value["objects"], value["licence"]
        entries.append(Entry(photo.stem, photo.name, arguments, given, count, licence))
    return entries


def scene_entries(data: Path) -> list[Entry]:
    """The ground-truth scenes with their visible masks, depth and camera."""
    entries = []
    for folder in scene_folders(data):
        masks = sorted((folder / "masks").glob("modal_*.png"))
        arguments = Arguments(
            folder / "image.png", masks=masks, profile=PROFILE,
            camera=folder / "camera.json", point_map=folder / "depth.npy",
        )  # fmt: skip
        given = f"{len(masks)} masks, depth, camera"
        name = folder.name
        entries.append(Entry(name, name, arguments, given, len(masks), SCENE_LICENCE))
    return entries


def show_entry(entry: Entry, store: Store, out: Path) -> Sheet:
    """Reconstruct one photo and save its sheet; a failure is kept with its reason."""
    started = time.monotonic()
    try:
        scene, _ = reconstruct_photo(build_request(entry.arguments, store), store)
        sheet = Sheet(entry, _figures(scene, entry.objects), lost=_lost(scene))
        image = draw_sheet(scene, store, f"{entry.title}   given: {entry.given}   {sheet.figures}")
    except (BadInput, ObjectError) as error:
        sheet = Sheet(entry, failure=str(error))
        (out / f"{entry.name}.png").unlink(missing_ok=True)
    else:
        Image.fromarray(image).save(out / f"{entry.name}.png", optimize=True)
    told = sheet.failure or ", ".join((sheet.figures, *sheet.lost))
    print(f"{entry.title:<30} {time.monotonic() - started:6.1f} s  {told}", flush=True)
    return sheet


def draw_sheet(scene: Scene, store: Store, caption: str) -> Uint8:
    """(H, W, 3): the photo, the overlay and the turned views in a row, above a caption.

    Up is away from the support plane; without one, the camera's own vertical. Raises ValueError
    when the scene has no placed object.
    """
    placed = placed_meshes(scene, store)
    if not placed or scene.camera is None or scene.overlay is None:
        raise CannotPlace("no object could be placed")
    photo = store.load(scene.photo, Photo).rgb
    overlay = decode_png(store.read(scene.overlay), "RGB")
    panel_width = round(PANEL_HEIGHT_PX * photo.shape[1] / photo.shape[0])
    size = (panel_width, PANEL_HEIGHT_PX)
    stage = stage_of(scene, placed)
    panels = [reduced(image, size) for image in (photo, overlay)]
    panels += [image_from(stage, direction, size, BACKGROUND) for direction in DIRECTIONS]
    gap = np.full((PANEL_HEIGHT_PX, GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for p in panels for part in (gap, p)][1:], axis=1)
    return np.concatenate([row, caption_strip(caption, row.shape[1])])


def gallery_page(sheets: Sequence[Sheet]) -> str:
    """README.md of the gallery: the sheets in order, a line each."""
    lines = [
        "# Gallery",
        "",
        f"Every photo and ground-truth scene reconstructed with the `{PROFILE}` profile, drawn by "
        "`python -m benchmarks.gallery`.",
        "",
        "Each row shows the photo, the scene drawn through the photo's camera (with the masks' "
        "outlines), the scene from 35 degrees further right and 30 above the horizon, and from 35 "
        "degrees further left and 50 above it. The support plane gives the vertical; without one "
        "the camera does. What no pixel of the photo shows (backs, undersides, hidden parts) is "
        "guessed. Silhouette IoU and depth residual compare the scene with the masks and the "
        "depth that it was built from: they measure faithfulness to the photo, not truth.",
    ]
    for sheet in sheets:
        entry = sheet.entry
        lines += ["", f"## {entry.title}", ""]
        if sheet.failure is None:
            lines += [f"![{entry.title}]({entry.name}.png)", ""]
        result = sheet.figures if sheet.failure is None else f"failed: {sheet.failure}"
        lines += [
            f"- Given: {entry.given}.",
            f"- Result: {result}.",
            f"- Photo: {entry.licence}.",
            *(f"- Lost: {lost}." for lost in sheet.lost),
        ]
    return narrow("\n".join(lines) + "\n")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="has data/photos")
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"), help="where sheets go")
    parser.add_argument("--store", help="the content store, as in `photoscene run`")
    return parser.parse_args(argv)


def _figures(scene: Scene, known: int) -> str:
    """Objects found (and known, if that differs), silhouette IoU and depth residual, in words."""
    fits = [o.fit for o in scene.objects if o.fit is not None]
    count = f"{len(fits)} object{'' if len(fits) == 1 else 's'}"
    if len(fits) != known:
        count += f" (the photo has {known})"
    if not fits:
        return count
    iou = np.mean([f.silhouette_iou for f in fits])
    residual = np.median([f.residual_median for f in fits])
    return f"{count}, mean silhouette IoU {iou:.3f}, median depth residual {residual:.2%}"


def _lost(scene: Scene) -> tuple[str, ...]:
    """The objects that failed, each with its reason."""
    return tuple(f"{o.name} ({o.failure})" for o in scene.objects if o.failure)


def reduced(image: Uint8, size: tuple[int, int]) -> Uint8:
    """A picture (H, W, 3) at a smaller size (width, height)."""
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def caption_strip(text: str, width: int) -> Uint8:
    """(CAPTION_HEIGHT_PX, width, 3): dark text on white."""
    strip = Image.new("RGB", (width, CAPTION_HEIGHT_PX), "white")
    font = ImageFont.load_default(CAPTION_FONT_PX)
    ImageDraw.Draw(strip).text((6, 4), text, fill=(40, 40, 40), font=font)
    return np.asarray(strip)


if __name__ == "__main__":
    sys.exit(main())
