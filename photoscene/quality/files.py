"""Export: what another reader finds in a run's scene file and in every format it can leave in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from photoscene.export.budgets import closed
from photoscene.export.building import build_scene
from photoscene.export.formats import EXPORTERS
from photoscene.export.libraries import missing_library
from photoscene.export.model import Exporter, ExportScene
from photoscene.export.options import ExportOptions
from photoscene.export.source import Source
from photoscene.physics.colliders import Colliders, box_diagonal
from photoscene.quality.readers import READERS, ReadFile, box_of, read_nodes
from photoscene.quality.rubric import SCENE, Row, measured, not_measured
from scene.errors import BadInput, CannotRun
from scene.frames import gltf_from_opencv
from scene.types import Float64

SCENE_FILE = "scene.glb"
NONE: Mapping[str, Colliders] = {}
SMALLEST_M, LARGEST_M = 0.005, 20.0  # of an object in a photo: from a ring to a lorry


def scene_file_row(source: Source, path: Path) -> Row:
    """Whether a run's scene.glb is what its scene.json says."""
    if not path.is_file():
        return not_measured(SCENE_FILE, "read back", "the run has none")
    expected = {o.name: box_of(gltf_from_opencv(o.camera_vertices)) for o in source.placed}
    return _compared(SCENE_FILE, expected, lambda: read_nodes(path))


def export_rows(source: Source) -> list[Row]:
    """A row per format that is written and read here; and origin and scale."""
    rows, pivots = [], None
    shells = cache(lambda: solid(source))  # as an export closes what is open for some formats
    with tempfile.TemporaryDirectory() as work:
        for exporter in EXPORTERS.values():
            row, found = _read_back(
                shells if exporter.closed else lambda: source, exporter, Path(work) / exporter.name
            )
            rows.append(row)
            if exporter.name == "glb":
                pivots = found
    return [*rows, _origin_row(pivots), _scale_row(source)]


def solid(source: Source) -> Source:
    """The source with every open object replaced by the closed shell around it."""
    placed = tuple(replace(o, mesh=closed(o.mesh, None, None)) for o in source.placed)
    return replace(source, placed=placed)


def _read_back(
    source: Callable[[], Source], exporter: Exporter, folder: Path
) -> tuple[Row, tuple[ExportScene, ReadFile] | None]:
    subject = f"{exporter.name} export"
    lacking = missing_library(exporter.libraries)
    reader = READERS.get(exporter.name)
    if lacking or reader is None:
        why = lacking or "no second reader of this format is here"
        return not_measured(subject, "read back", why), None
    lacking = missing_library(reader.libraries)
    if lacking:
        return not_measured(subject, "read back", lacking), None
    folder.mkdir()
    try:
        exporter.check()
        scene = exported(source(), exporter)
        exporter.write(scene, folder)
    except (BadInput, CannotRun) as error:
        return not_measured(subject, "read back", str(error)), None
    names = {reader.name_of(o): box_of(o.vertices) for o in scene.objects}
    found: list[ReadFile] = []

    def read() -> ReadFile:
        found.append(reader.read(folder / f"{scene.name}{reader.suffix}"))
        return found[0]

    row = _compared(subject, names, read)
    return row, (scene, found[0]) if found else None


def exported(
    source: Source, exporter: Exporter, colliders: Mapping[str, Colliders] = NONE
) -> ExportScene:
    """The scene as `photoscene export` writes it by default; colliders: by the objects' ids."""
    known = source.world_from_camera is not None
    options = ExportOptions(
        frame="world" if known else "camera", origin="floor" if known else "camera"
    )
    extras = {"metric": source.metric}
    return build_scene("scene", source, exporter, options, 1.0, extras, colliders)


def _compared(subject: str, expected: Mapping[str, Float64], read: Callable[[], ReadFile]) -> Row:
    """How far the boxes of a file are off, over the size of the whole scene."""
    try:
        found = read()
    except (ValueError, KeyError, IndexError, OSError) as error:
        return measured(subject, "read back", 1.0, f"it cannot be read: {error}")
    lows, highs = zip(*expected.values(), strict=True)
    whole = np.array([np.min(lows, axis=0), np.max(highs, axis=0)])
    wanted = {"": whole} if set(found.boxes) == {""} else dict(expected)
    lacking = [name for name in wanted if name not in found.boxes]
    if lacking:
        return measured(subject, "read back", 1.0, f"it lacks {', '.join(lacking)}")
    size = box_diagonal(whole)
    worst = {n: float(np.abs(found.boxes[n] - box).max()) / size for n, box in wanted.items()}
    name = max(worst, key=lambda n: worst[n])
    return measured(subject, "read back", worst[name], f"most at {name}" if name else "")


def _origin_row(found: tuple[ExportScene, ReadFile] | None) -> Row:
    """Whether every object's pivot is at the centre of its base, in the GLB."""
    if found is None:
        return not_measured(SCENE, "origin", "no GLB was read back")
    scene, file = found
    worst, note = 0.0, ""
    for o in scene.objects:
        if o.name not in file.boxes:
            continue
        low, high = file.boxes[o.name]
        base = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        off = float(np.abs(file.pivots[o.name] - base).max()) / box_diagonal(file.boxes[o.name])
        if off > worst:
            worst, note = off, f"most at {o.name}"
    return measured(SCENE, "origin", worst, note)


def _scale_row(source: Source) -> Row:
    """Whether lengths are metres, and such as things in photos have."""
    sizes = {o.name: float(np.ptp(o.camera_vertices, axis=0).max()) for o in source.placed}
    if not source.metric:
        return measured(SCENE, "scale", 1)
    odd = [f"{n} is {s:.3g} m long" for n, s in sizes.items() if not SMALLEST_M < s < LARGEST_M]
    listed = f"{min(sizes.values()):.3g} to {max(sizes.values()):.3g} m"
    return measured(SCENE, "scale", 2 if odd else 0, "; ".join(odd) or listed)
