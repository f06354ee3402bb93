"""Stability: what happens to the exported scene in two seconds of MuJoCo."""

from __future__ import annotations

import math

from photoscene.export.building import build_scene
from photoscene.export.formats import mjcf
from photoscene.export.libraries import missing_library
from photoscene.export.options import ExportOptions
from photoscene.export.source import Source
from photoscene.physics.bodies import LIBRARIES, PHYSICS_EXTRA, camera_colliders
from photoscene.physics.colliders import MAX_PARTS
from photoscene.physics.mass import DENSITY
from photoscene.physics.standing import SECONDS, Standing, simulate_standing
from photoscene.quality.rubric import Row, measured, not_measured

SIMULATION = {"mujoco": PHYSICS_EXTRA, **LIBRARIES}
NOTICEABLE = 0.005  # of the size: smaller gaps and overlaps are the colliders' own
NO_PLANE = (
    "stability: the run found no support plane, so up is the camera's own vertical and the floor "
    "lies below the lowest object"
)
RELATIVE = "stability: the map is not metric, so a unit of it is taken for a metre"


def assumptions_of(source: Source) -> list[str]:
    """What the simulation takes for granted, in words."""
    found = [] if source.world_from_camera is not None else [NO_PLANE]
    return found if source.metric else [*found, RELATIVE]


def stability_rows(source: Source) -> dict[str, list[Row]]:
    """The rows of every object, by id: all stand or fall together."""
    lacking = missing_library(SIMULATION)
    if lacking:
        return {
            o.id: [not_measured(o.name, row, lacking) for row in ("colliders", "stands")]
            for o in source.placed
        }
    colliders = camera_colliders(source.placed)
    known = source.world_from_camera is not None
    # About the base of all objects, the lowest one touches z = 0.
    options = ExportOptions(
        frame="world" if known else "camera", origin="floor" if known else "object", colliders=True
    )
    scene = build_scene("scene", source, mjcf.EXPORTER, options, 1.0, {}, colliders)
    stood = simulate_standing(scene)
    rows = {}
    for o, standing in zip(source.placed, stood, strict=True):
        own = colliders[o.id]
        note = f"{len(own.parts)} of at most {MAX_PARTS} parts"
        rows[o.id] = [
            measured(o.name, "colliders", own.uncovered, note),
            measured(o.name, "stands", standing.unsteady, _behaviour(standing)),
        ]
    return rows


def _behaviour(standing: Standing) -> str:
    """What it did, in words."""
    if not math.isfinite(standing.moved):
        return "the simulation came apart: it reaches into others or into the floor"
    first = ""
    if not standing.touches and standing.sank > NOTICEABLE:
        first = "it touches nothing at first, "
    elif standing.into > NOTICEABLE:
        first = f"it reaches into others or the floor by {standing.into:.2%} of its size, "
    heights = "sank" if standing.sank >= 0 else "rose"
    turn = math.degrees(standing.turned_rad)
    return (
        f"{first}{heights} by {abs(standing.sank):.2%} of its size and turned by {turn:.1f} degrees"
        f" in {SECONDS:g} s at {DENSITY:g} kg/m3"
    )
