"""`photoscene render`: what its options mean, and which files it writes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.options import Rendering
from photoscene.cli.output import DONE, print_result, print_warnings
from photoscene.export.source import read_source
from photoscene.inputs.request import check_local
from photoscene.runs.fits import find_object
from photoscene.runs.folder import check_folder, object_folder, read_run, read_scene
from photoscene.views.animations import animation, check_animation
from photoscene.views.rendering import Colour, Stage, stage_of, still, turntable
from photoscene.views.viewpoints import CAMERA, direction_of
from scene.errors import BadInput
from scene.png import encode_png
from scene.store import open_store, write_atomically
from scene.types import Scene

DEFAULT_VIEW, DEFAULT_FOLDER = "three-quarter", "views"
MIN_SIDE_PX, MAX_SIDE_PX = 16, 8192
MIN_FRAMES, DEFAULT_FRAMES, MAX_FRAMES = 2, 60, 1000
BACKGROUNDS: dict[str, Colour | None] = {
    "light": (232, 232, 232), "white": (255, 255, 255), "dark": (30, 33, 38), "transparent": None,
}  # fmt: skip


@dataclass(frozen=True)
class _Files:
    """Each view with its file, and the turntable's."""

    stills: dict[str, Path]
    turntable: Path | None


def render_run(folder: Path, asked: Rendering, store_path: str | None, as_json: bool) -> int:
    """`photoscene render`: returns the exit status."""
    started = time.monotonic()
    run, scene = read_run(folder), read_scene(folder)
    object_id = None if asked.object is None else find_object(run, asked.object)
    if scene.camera is None:
        raise BadInput(f"{folder} has no scene yet, the run stopped before: run it to the end")
    size = _size(asked.size, scene.camera.width / scene.camera.height)
    background = _background(asked.background)
    files = _files(folder, scene, object_id, asked)
    frames = DEFAULT_FRAMES if asked.frames is None else asked.frames
    if files.turntable is None and asked.frames is not None:
        raise BadInput(f"--frames {frames} is for a turntable: add --turntable FILE")
    if files.turntable is not None:
        if not MIN_FRAMES <= frames <= MAX_FRAMES:
            raise BadInput(f"--frames {frames}: expected {MIN_FRAMES} to {MAX_FRAMES}, 20 a second")
        suffix = files.turntable.suffix.lower()
        check_animation(suffix, frames, size, background is None)
    _check_outputs([*files.stills.values(), *filter(None, [files.turntable])], asked.force)
    store = open_store(store_root(store_path or run.record.store))
    source = read_source(folder, store)[1]
    print_warnings(source.notes)
    placed = [o for o in source.placed if object_id in (None, o.id)]
    if not placed:
        raise BadInput(f"--object {asked.object}: it was lost ({_reason(scene, object_id)})")
    written = _write(stage_of(scene, placed), files, size, background, frames)
    seconds = round(time.monotonic() - started, 3)
    value = {"status": DONE, "files": [str(path) for path in written], "size_px": list(size),
             "seconds": seconds}  # fmt: skip
    print_result(value, "\n".join(str(path) for path in written), as_json)
    return DONE


def _reason(scene: Scene, object_id: str | None) -> str:
    return next(o.failure for o in scene.objects if o.id == object_id) or "the run stopped before"


def _write(
    stage: Stage, files: _Files, size: tuple[int, int], background: Colour | None, frames: int
) -> list[Path]:
    for view, path in files.stills.items():
        write_atomically(path, encode_png(still(stage, view, size, background)))
    written = list(files.stills.values())
    if files.turntable is not None:
        images = turntable(stage, frames, size, background)
        write_atomically(files.turntable, animation(files.turntable.suffix.lower(), images))
        written.append(files.turntable)
    return written


def _size(given: str, aspect: float) -> tuple[int, int]:
    """(width, height) in pixels of "WIDTHxHEIGHT", or of the longer side of the photo's shape,
    whose other side is rounded to an even number."""
    found = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", given)
    if found is None:
        raise BadInput(f"--size {given}: expected pixels, as 960 or 1280x720")
    side = int(found[1])
    if not all(MIN_SIDE_PX <= int(s) <= MAX_SIDE_PX for s in found.groups() if s is not None):
        raise BadInput(f"--size {given}: expected {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels")
    if found[2] is not None:
        return side, int(found[2])
    shorter = max(2, 2 * round(side * min(aspect, 1 / aspect) / 2))
    return (side, shorter) if aspect >= 1 else (shorter, side)


def _background(given: str) -> Colour | None:
    if given in BACKGROUNDS:
        return BACKGROUNDS[given]
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", given):
        raise BadInput(
            f"--background {given}: expected {', '.join(BACKGROUNDS)} or a colour as #ffcc00"
        )
    red, green, blue = bytes.fromhex(given[1:])
    return red, green, blue


def _files(folder: Path, scene: Scene, object_id: str | None, asked: Rendering) -> _Files:
    """Where everything goes: -o names a file for one view, else a folder."""
    views = list(dict.fromkeys(asked.views or ([] if asked.turntable else [DEFAULT_VIEW])))
    for view in views:
        if view != CAMERA:
            direction_of(view)
    output, prefix = asked.output, ""
    if output is not None and not views:
        raise BadInput(
            f"-o {output} is for views, the turntable goes to {asked.turntable}: add a --view, or "
            "leave -o out"
        )
    for path in filter(None, (output, asked.turntable)):
        check_local(path, "-o" if path is output else "--turntable")
    for index, o in enumerate(scene.objects):
        if o.id == object_id:
            prefix = f"{object_folder(index, o).name}_"
    if output is not None and output.suffix.lower() == ".png" and not output.is_dir():
        if len(views) != 1:
            raise BadInput(f"-o {output} is one file, for one --view: name a folder")
        return _Files({views[0]: output}, asked.turntable)
    output = folder / DEFAULT_FOLDER if output is None else output
    named = {view: output / f"{prefix}{re.sub(r'[ ,]+', '_', view)}.png" for view in views}
    return _Files(named, asked.turntable)


def _check_outputs(paths: Sequence[Path], force: bool) -> None:
    """BadInput where a file would be written over, or cannot be made, before anything is drawn."""
    for path in paths:
        check_folder(path.parent)
        if path.is_dir():
            raise BadInput(f"{path} is a folder: name a file")
        if os.path.lexists(path) and not force:
            raise BadInput(f"{path} exists: give another name, or --force to write over it")
    if len({path.absolute() for path in paths}) < len(paths):
        raise BadInput(f"{paths[-1]} would be written twice: give another name")
