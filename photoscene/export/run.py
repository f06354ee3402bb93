"""One export of a run: every format in turn, into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from photoscene.export.budgets import closed, within_budget
from photoscene.export.building import build_scene, single_scenes, unit_and_up
from photoscene.export.folder import publish, record_name, staging
from photoscene.export.frames import CAMERA, WORLD
from photoscene.export.libraries import check_libraries, require
from photoscene.export.model import Exporter, ExportScene
from photoscene.export.names import plain_name
from photoscene.export.options import ExportOptions
from photoscene.export.source import Source, read_source, scale_from_size
from photoscene.physics.bodies import LIBRARIES, camera_colliders
from photoscene.physics.mass import DENSITY
from photoscene.runs.folder import read_asset
from scene.errors import BadInput
from scene.store import Store
from scene.types import ObjectMesh

DEFAULT_FOLDER = "export"  # in a run's folder
RELATIVE_NOTE = (
    "sizes are relative, since the point map is not metric: --size OBJECT=0.12m sets the scale"
)


@dataclass(frozen=True)
class Exported:
    """What was written: files, relative to the folder; notes for who uses them; lost: the objects
    that are not in them, by name with the reason."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]
    lost: dict[str, str]


def export_run(
    run_folder: Path,
    folder: Path,
    exporters: Sequence[Exporter],
    options: ExportOptions,
    store: Store,
) -> Exported:
    """Write a run's scene, or each of its objects, in every format into a folder.

    Raises BadInput, CannotRun or OSError; nothing is written then.
    """
    _check_place(folder, run_folder)
    for exporter in exporters:
        check_libraries(exporter)
    if options.colliders:
        require("--colliders", LIBRARIES)
    run, source = read_source(run_folder, store)
    name = plain_name(run_folder.resolve().name, "scene")
    options, notes = _with_defaults(options, source)
    notes += source.notes
    size_scale = 1.0
    if options.size is not None:
        size_scale = scale_from_size(run, source, options.size)
        notes.append(f"all lengths times {size_scale:.4g}, by --size {options.size}")
    elif not source.metric:
        notes.append(RELATIVE_NOTE)
    notes += _fixed_notes(exporters, options)
    budget = {"faces": options.faces, "texture_px": options.texture_px}
    extras = {"metric": source.metric or options.size is not None, "photo": source.photo.sha256}
    colliders = camera_colliders(source.placed) if options.colliders else {}
    asset = read_asset(run_folder)
    extras |= {"asset": asset} if asset else {}
    scenes: list[ExportScene] = []
    with staging(folder) as staged:
        source = _with_meshes(source, partial(within_budget, **budget))
        solid = source
        if any(exporter.closed for exporter in exporters):
            solid = _with_meshes(source, partial(closed, **budget))
            notes += _closed_notes(source, solid)
        for exporter in exporters:
            taken = solid if exporter.closed else source
            scene = build_scene(name, taken, exporter, options, size_scale, extras, colliders)
            scenes.append(scene)
            files = single_scenes(scene, options.origin == "object")
            for each in files if options.per_object else [scene]:
                exporter.write(each, staged)
        files = publish(folder, staged, name, _record(scenes[0], exporters, notes, source))
    return Exported(folder, (*files, record_name(name)), tuple(notes), dict(source.lost))


def _check_place(folder: Path, run_folder: Path) -> None:
    """BadInput for a file, and for a run's own folder, but for what is below its `export`."""
    nearest = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not nearest.is_dir():
        raise BadInput(f"-o {folder}: {nearest} is no folder: name another one")
    place, run = folder.resolve(), run_folder.resolve()
    if place.is_relative_to(run) and not place.is_relative_to(run / DEFAULT_FOLDER):
        raise BadInput(
            f"-o {folder} is inside the run's own folder: name another one, or leave -o out for "
            f"{run_folder / DEFAULT_FOLDER}"
        )


def _with_meshes(source: Source, change: Callable[[ObjectMesh], ObjectMesh]) -> Source:
    return replace(source, placed=tuple(replace(o, mesh=change(o.mesh)) for o in source.placed))


def _closed_notes(source: Source, solid: Source) -> list[str]:
    pairs = zip(source.placed, solid.placed, strict=True)
    names = [before.name for before, after in pairs if before.mesh is not after.mesh]
    return [f"{', '.join(names)}: open, so the solid is a closed shell around it"] if names else []


def _with_defaults(options: ExportOptions, source: Source) -> tuple[ExportOptions, list[str]]:
    """Frame and origin where none was asked for: upright on the floor as far as that is known."""
    notes = []
    frame = options.frame
    if frame is None:
        frame = CAMERA if source.world_from_camera is None else WORLD
        if frame == CAMERA:
            notes.append("the run found no support plane: exported in the photo camera's frame")
    origin = options.origin or (
        "object" if options.per_object else CAMERA if frame == CAMERA else "floor"
    )
    return replace(options, frame=frame, origin=origin), notes


def _fixed_notes(exporters: Sequence[Exporter], options: ExportOptions) -> list[str]:
    """The formats that leave no choice of what was asked for, or have no place for it."""
    notes = []
    bare = [
        e.name for e in exporters if not (e.physical or options.colliders and e.can_be_physical)
    ]
    asked = {"--colliders": options.colliders, "--density": options.density != DENSITY}
    if bare and any(asked.values()):
        names = " and ".join(name for name, given in asked.items() if given)
        notes.append(f"{', '.join(bare)}: no place for bodies, so {names} changes nothing there")
    for exporter in exporters:
        unit, up = unit_and_up(exporter, options)
        if options.unit not in (None, unit) or options.up not in (None, up):
            notes.append(f"{exporter.name} is in {unit} with {up} up, whatever is asked for")
    return notes


def _record(
    scene: ExportScene, exporters: Sequence[Exporter], notes: Sequence[str], source: Source
) -> dict[str, object]:
    """What NAME.export.json has besides the list of files."""
    return {
        "formats": [exporter.name for exporter in exporters],
        "scene": {k: v for k, v in scene.metadata.items() if k not in ("unit", "up")},
        "objects": [{"name": o.name, **o.metadata} for o in scene.objects],
        "lost": dict(source.lost),
        "notes": list(notes),
    }
