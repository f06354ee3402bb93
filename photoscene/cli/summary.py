"""The scene of a run in short: for people a few lines, for machines one document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from photoscene.choosing import MASKS
from photoscene.runs.fits import GOOD, has_failed
from photoscene.runs.folder import (
    REPORT,
)
from scene.types import Scene, SceneObject


def scene_summary(
    scene: Scene, folder: Path, computed: int, seconds: float, status: int
) -> dict[str, Any]:
    """What `run --json` prints: the status, where the files are, and each object with its fit."""
    return {
        "status": status,
        "run": str(folder),
        "scene": str(folder / "scene.glb") if scene.glb else None,
        "report": str(folder / REPORT),
        "objects": [_object_summary(number, o) for number, o in enumerate(scene.objects, 1)],
        "notes": list(scene.notes),
        "steps_computed": computed,
        "seconds": round(seconds, 3),
    }


def _object_summary(number: int, o: SceneObject) -> dict[str, Any]:
    """What `--json` says of an object; the fit's figures are None where it was not placed."""
    fit = o.fit
    return {
        "number": number,
        "id": o.id,
        "name": o.name,
        "grade": fit and fit.grade,
        "silhouette_iou": fit and round(fit.silhouette_iou, 4),
        "depth_error": fit and _rounded(fit.depth_error),
        "perspective": fit and _rounded(fit.perspective),
        "support": fit and fit.support,
        "warnings": list(fit.warnings) if fit else [],
        "failure": o.failure,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def scene_text(scene: Scene, folder: Path, computed: int, steps: int, seconds: float) -> str:
    """What a person wants to know of a scene: notes, a line per object, cost, where it is, and
    last what is wrong with it."""
    lines = [f"note: {note}" for note in scene.notes]
    lines += [_object_line(number, o) for number, o in enumerate(scene.objects, 1)]
    lines.append(f"{computed} of {steps} steps computed in {seconds:.1f} s")
    if (folder / MASKS).exists() and scene.points is None:
        lines.append(f"masks: {folder / MASKS}")
    if scene.glb:
        lines += [f"scene: {folder / 'scene.glb'}", f"overlay: {folder / 'overlay.png'}"]
    lines.append(f"report: {folder / REPORT}")
    for number, o in enumerate(scene.objects, 1):
        if o.failure:
            lines.append(f"FAILED {number} {o.name}: {o.failure}")
        elif o.fit and o.fit.grade != GOOD:
            mark = "FAILED" if has_failed(o) else o.fit.grade
            lines.append(f"{mark} {number} {o.name}: {'; '.join(o.fit.warnings)}")
    return "\n".join(lines)


def _object_line(number: int, o: SceneObject) -> str:
    line = f"{number:3d}  {o.name}"
    if o.fit:
        line += f"  distance {o.fit.distance:.3g}, outline {o.fit.silhouette_iou:.2f}"
    if has_failed(o):
        return f"{line}  FAILED"
    return f"{line}  {o.fit.grade}" if o.fit and o.fit.grade != GOOD else line
