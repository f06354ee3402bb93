"""The asset record of a run: photo, licences, weights, settings, seeds, and what is guessed.

scene.json and every export carry it, so it has no time, host or path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from flows.plan import STAGES
from flows.request import Request
from flows.steps.map_points import FROM_EXIF
from photoscene.provenance.weights import weights_used
from photoscene.runs.record import StepRecord
from scene.types import PointMap, Scene

FORMAT = "photoscene-asset/1"
PATH_SEPARATORS = ("/", "\\")
OWN_FILE = "a file of the user's own"
GIVEN_MAPS = ("file",)  # backends of map_points that read what a sensor measured


def asset_record(
    request: Request, steps: Sequence[StepRecord], scene: Scene, points: PointMap | None
) -> dict[str, Any]:
    """Plain JSON, the same for the same request and results. points: the scene's map, if any."""
    return {
        "format": FORMAT,
        "generator": f"photoscene {metadata.version('photoscene')}",
        "photo": {"sha256": request.photo.sha256, "licence": request.licence},
        "given": _given(request),
        "profile": request.profile.name,
        "seed": request.seed,
        "steps": _steps(steps),
        "weights": weights_used(steps, request.profile),
        "objects": [_object(o.id, o.name, request, steps) for o in scene.objects],
        "cleanup": _cleanup(request, steps, scene),
        "measured": [*_measured(request, steps, scene, points)],
        "guessed": [*_guessed(request, steps, scene, points)],
    }


def _given(request: Request) -> dict[str, Any]:
    """What a person gave beside the photo."""
    return {
        "masks": [m.file.sha256 for m in request.masks],
        "prompts": len(request.prompts),
        "point_map": request.point_map.sha256 if request.point_map else None,
        "camera": dict(request.camera) or None,
    }


def _steps(steps: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """How each stage was done; once where it was done alike for several objects."""
    listed: list[dict[str, Any]] = []
    for step in steps:
        settings = {k: _without_paths(v) for k, v in step.settings.items() if k != "weights"}
        entry = {"stage": step.stage, "backend": step.backend, "version": step.version,
                 "settings": settings}  # fmt: skip
        if entry not in listed:
            listed.append(entry)
    return listed


def _without_paths(value: Any) -> Any:
    """A setting; what may be a path, which means nothing elsewhere, is only said to be a file."""
    is_path = isinstance(value, str) and any(s in value for s in PATH_SEPARATORS)
    return OWN_FILE if is_path else value


def _object(
    object_id: str, name: str, request: Request, steps: Sequence[StepRecord]
) -> dict[str, Any]:
    own = [s for s in steps if s.subject == object_id and s.stage in STAGES]
    edited = request.edits_of(object_id).names
    return {
        "id": object_id,
        "name": name,
        "seeds": {step.stage: step.seed for step in own},
        **({"edited": edited} if edited else {}),
    }


def _cleanup(request: Request, steps: Sequence[StepRecord], scene: Scene) -> list[str]:
    """What was done to meshes after they were generated, and by hand."""
    finished = [s for s in steps if s.stage == "finish" and not s.failure]
    lines = []
    if finished:
        given = finished[0].settings
        what = ", ".join(f"{k} {v}" for k, v in given.items() if k in ("preset", "faces"))
        lines.append(
            f"finish ({finished[0].backend}{', ' if what else ''}{what}): closed, decimated, "
            "unwrapped and baked anew"
        )
    for o in scene.objects:
        edited = request.edits_of(o.id).names
        lines += [f"{o.name}: {', '.join(edited)} edited by hand"] if edited else []
    return lines


def _backend(steps: Iterable[StepRecord], stage: str) -> str:
    return next((s.backend for s in steps if s.stage == stage), "")


def _measured(
    request: Request, steps: Sequence[StepRecord], scene: Scene, points: PointMap | None
) -> Iterable[str]:
    yield "outline and colours of what the photo shows"
    if request.masks:
        yield "masks of the objects, given"
    if request.camera:
        yield "camera, given"
    elif _from_exif(scene):
        yield "focal length of the camera, from the photo's own data (EXIF)"
    if points is not None and _backend(steps, "map_points") in GIVEN_MAPS:
        yield f"depth of what the photo shows, given, {_unit(points)}"


def _guessed(
    request: Request, steps: Sequence[StepRecord], scene: Scene, points: PointMap | None
) -> Iterable[str]:
    mapper = _backend(steps, "map_points")
    if not request.camera and not _from_exif(scene):
        yield "focal length of the camera: the photo's own data does not have it"
    if points is not None and points.guessed:
        yield f"depth: objects are assumed to stand on a plane ({mapper}), {_unit(points)}"
    elif points is not None and mapper not in GIVEN_MAPS:
        yield f"depth of what the photo shows, estimated from the photo ({mapper}), {_unit(points)}"
    completer, generator = _backend(steps, "complete"), _backend(steps, "generate")
    if completer:
        yield f"what other objects hide ({completer})"
    if generator:
        yield f"sides that the photo does not show: their shape and colours ({generator})"


def _from_exif(scene: Scene) -> bool:
    return any(note.endswith(FROM_EXIF) for note in scene.notes)


def _unit(points: PointMap) -> str:
    return "in metres" if points.metric else "in units of this scene only"
