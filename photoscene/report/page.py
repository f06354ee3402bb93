"""Writes report.html: what a run read, made and measured, on one page that needs no network."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from flows.plan import STEPS
from photoscene.quality.kept import kept_quality
from photoscene.report.cards import DAMAGED, Card, object_cards
from photoscene.report.embed import (
    content_security_policy,
    data_uri,
    json_for_script,
    script_text,
    template,
)
from photoscene.report.previews import (
    UP_DIGITS,
    Files,
    masks_preview,
    overlay_preview,
    photo_preview,
    points_preview,
)
from photoscene.report.steps import (
    seconds_text,
    stage_columns,
    used_weights,
    waits_for_masks,
)
from photoscene.report.viewer_model import (
    Sphere,
    ViewerObject,
    bounding_sphere,
    box_corners,
    viewer_scene,
)
from photoscene.runs.fits import has_failed
from photoscene.runs.folder import Run
from photoscene.runs.inspection import inspect_steps
from scene.store import Store
from scene.types import Camera, Float64, Scene

VIEWER_VERSION = "4.4.0"
OFF_CENTRE = 0.01  # fraction of the side by which a principal point may be off without a remark
SCALE_TICKS = 5
NOTHING_KNOWN = {"metric": False, "notes": [], "range": None}


@cache
def _fixed_parts(viewer: bool) -> Mapping[str, str]:
    """Scripts, style and policy, which are those of all pages; read once."""
    folder = files("photoscene.report")
    scripts = {"report_script": script_text((folder / "report.js").read_text("utf-8"))}
    if viewer:
        vendored = folder / "vendor" / "model-viewer-umd.min.js"
        scripts["viewer_script"] = script_text(vendored.read_text("utf-8"))
    return {
        "policy": content_security_policy(list(scripts.values())),
        "style": (folder / "report.css").read_text("utf-8"),
        "viewer_script": "",
        **scripts,
    }


@dataclass(frozen=True)
class Verdict:
    """One line about the run, and its tone: good, warn or bad."""

    text: str
    tone: str


def report_page(run: Run, scene: Scene, store: Store) -> bytes:
    """The inspection page of a run as HTML."""
    page = template("photoscene.report", "report.html.jinja")
    return page.render(_context(run, scene, store)).encode("utf-8")


def _context(run: Run, scene: Scene, store: Store) -> dict[str, Any]:
    steps = inspect_steps(run.record.steps, store)
    world = scene.world_from_camera
    up = None if world is None else np.round(world[2, :3], UP_DIGITS)
    points = points_preview(store, scene.photo, scene.points, up) if scene.points else {}
    details = json.loads(points["details.json"]) if points else NOTHING_KNOWN
    unit = "m" if details["metric"] else "point-map units"
    until = run.request.until
    cards = object_cards(scene, steps, until, unit, store)
    viewer = _viewer(scene, cards)
    return {
        **_fixed_parts(bool(viewer)),
        "run": run,
        "record": run.record,
        "scene": scene,
        "verdict": verdict(scene, until),
        "until": until,
        "total": seconds_text(run.record.seconds),
        "states": {s: sum(step.state == s for step in run.record.steps)
                   for s in ("computed", "stored", "failed")},
        "damaged": DAMAGED,
        "flat": _flat_images(scene, store),
        "viewer": viewer,
        "viewer_version": VIEWER_VERSION,
        "camera": scene.camera and _camera_facts(scene.camera),
        "points": _point_images(points, details),
        "upright": "" if world is None else _upright_text(world, unit),
        "looked_for_plane": any(card.grade for card in cards),
        "photo_notes": [n for n in scene.notes if n not in details["notes"]],
        "unit": unit,
        "cards": cards,
        "steps": steps,
        "quality": kept_quality(run.folder, scene),
        "columns": stage_columns(run.record.steps),
        "waits": waits_for_masks(run.record.steps),
        "weights": used_weights(run.record.steps),
        "seconds_text": seconds_text,
    }  # fmt: skip


def verdict(scene: Scene, until: str) -> Verdict:
    """How a run came out, in one line."""
    count = len(scene.objects)
    failed = sum(has_failed(o) for o in scene.objects)
    doubtful = sum(o.fit is not None and o.fit.grade == "check" for o in scene.objects)
    placed = sum(o.camera_from_object is not None for o in scene.objects)
    lost = f"{_count(failed, 'object')} failed" if failed else ""
    if until == "map_points" and scene.points is not None and not count:
        return Verdict("Stopped after map_points, as asked: the point map is made", "good")
    if not count:
        return Verdict("No object was found", "bad")
    if until != list(STEPS)[-1]:
        found = f"{_count(count, 'object')} found"
        text = f"Stopped after {until}, as asked: {', '.join(filter(None, (found, lost)))}"
        return Verdict(text, "bad" if failed else "good")
    to_check = f"{doubtful} to check" if doubtful else "none to check"
    text = f"{placed} of {_count(count, 'object')} placed, {lost or 'none failed'}, {to_check}"
    return Verdict(text, "bad" if failed else "warn" if doubtful else "good")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _flat_images(scene: Scene, store: Store) -> dict[str, str]:
    """Photo, overlay and masks as data: URIs, "" where there is none."""
    made: dict[str, bytes] = dict(photo_preview(store, scene.photo))
    if scene.overlay:
        made |= overlay_preview(store, scene.overlay)
    if scene.objects:
        made |= masks_preview(store, scene.photo, [o.mask for o in scene.objects])
    return {
        name: data_uri(made[f"{name}.jpg"], ".jpg") if f"{name}.jpg" in made else ""
        for name in ("photo", "overlay", "masks")
    }


def _point_images(points: Files, details: Mapping[str, Any]) -> dict[str, Any]:
    """Depth image, its scale with ticks, the two views of the points, and perhaps normals."""
    span = details["range"]
    images = {
        name: data_uri(points[f"{name}.webp"], ".webp") if f"{name}.webp" in points else ""
        for name in ("depth", "scale", "turned", "above", "normals")
    }
    ticks = [] if span is None else [
        f"{span['near'] + (span['far'] - span['near']) * i / (SCALE_TICKS - 1):#.3g}"
        for i in range(SCALE_TICKS)
    ]  # fmt: skip
    known = "" if span is None else f"{span['known']:.1%}"
    text_facts = {"read": bool(points), "notes": details["notes"], "ticks": ticks, "known": known}
    return {**images, **text_facts}


def _camera_facts(camera: Camera) -> dict[str, Any]:
    return {
        "size": f"{camera.width} × {camera.height} pixels",
        "K": [[f"{value:.2f}" for value in row] for row in camera.K],
        "fov_x": f"{math.degrees(camera.fov_x_rad):.1f}°",
        "fov_y": f"{math.degrees(_fov_y_rad(camera)):.1f}°",
    }


def _upright_text(world_from_camera: Float64, unit: str) -> str:
    """How the camera stands over the support plane, by the third row of its turn: the way up."""
    right, _, ahead = (math.degrees(math.asin(np.clip(v, -1, 1))) for v in world_from_camera[2, :3])
    looks = f"{abs(ahead):.1f}° {'down' if ahead < 0 else 'up'}"
    return (f"the camera is {world_from_camera[2, 3]:#.3g} {unit} above it, looks {looks} "
            f"and is rolled by {abs(right):.1f}°")  # fmt: skip


def _fov_y_rad(camera: Camera) -> float:
    return 2 * math.atan(camera.height / (2 * camera.fy_px))


def _viewer(scene: Scene, cards: Sequence[Card]) -> dict[str, Any]:
    """What the 3D view needs: the light model, the photo's camera, and where each object stands.

    Empty when nothing is placed. The photo's camera stands at the origin of the model.
    """
    placed = [
        (card, ViewerObject(o.name, o.camera_from_object, card.viewer_glb))
        for o, card in zip(scene.objects, cards, strict=True)
        if o.camera_from_object is not None and card.viewer_glb
    ]
    if not placed or scene.camera is None:
        return {}
    camera = scene.camera
    corners = [box_corners(o) for _, o in placed]
    whole = bounding_sphere(np.concatenate(corners))
    model = viewer_scene([o for _, o in placed])
    data = {
        # Pixels need not be square: the box has the proportions of what the camera sees.
        "aspect": camera.width / camera.fx_px * camera.fy_px / camera.height,
        "fovYRad": _fov_y_rad(camera),
        **_sphere_to_json(whole),
        "objects": {
            str(card.number): _sphere_to_json(bounding_sphere(own))
            for (card, _), own in zip(placed, corners, strict=True)
        },
    }
    return {
        "aspect": data["aspect"],
        "json": json_for_script(data),
        "model": base64.b64encode(model).decode("ascii"),
        "numbers": [card.number for card, _ in placed],
        "megabytes": f"{len(model) / 1e6:.1f}",
        "off_centre": _off_centre(camera),
    }


def _sphere_to_json(sphere: Sphere) -> dict[str, Any]:
    return {"centre": sphere.centre.tolist(), "radius": sphere.radius}


def _off_centre(camera: Camera) -> str:
    """How far the principal point is off the image's centre, "" within the tolerance."""
    across = camera.cx_px / camera.width - 0.5
    down = camera.cy_px / camera.height - 0.5
    if max(abs(across), abs(down)) <= OFF_CENTRE:
        return ""
    return f"{across:+.1%} of the width and {down:+.1%} of the height"
