"""What the page says about each object: its images, fit figures, warnings and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.plan import PER_OBJECT
from photoscene.report.embed import data_uri
from photoscene.report.previews import (
    UP_DIGITS,
    Files,
    context_preview,
    cutout_preview,
    mesh_preview,
)
from photoscene.report.steps import seconds_text
from photoscene.runs.fits import percent_of_depth, support_name
from photoscene.runs.inspection import InspectedStep
from photoscene.runs.record import StepRecord
from scene.bundles import Bundle, of_object
from scene.cores import side_by_side
from scene.drawing import mask_colour
from scene.store import Store
from scene.types import Artifact, FitReport, Float64, Scene, SceneObject, Similarity

STILLS = (
    "Mesh from six sides; up is the camera's own vertical.",
    "Mesh from six sides; up is the support plane's.",
)
DAMAGED = "The file is missing from the store or damaged: run again to remake it."


@dataclass(frozen=True)
class CardImage:
    """An image of a card, or in `missing` why there is none."""

    caption: str
    alt: str
    uri: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Card:
    """One object of the page, with its own steps.

    figures: (what, value) pairs, empty before it is placed; grade: of its fit, "" without one;
    facts: the first things to ask of it, in a line.
    """

    number: int
    id: str
    name: str
    label: str
    colour: str
    state: str
    grade: str
    facts: str
    failure: str
    warnings: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    distance: str
    outline: str
    residual: str
    seconds: str
    images: tuple[CardImage, ...]
    stills: CardImage
    notes: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    viewer_glb: bytes


def object_cards(
    scene: Scene, steps: Sequence[InspectedStep], until: str, unit: str, store: Store
) -> list[Card]:
    """A card per object, in the order of the masks."""
    crops = next((s.record.outputs for s in steps if s.record.stage == "crop"), {})
    return side_by_side(
        lambda index: _card(index, scene, steps, crops, until, unit, store),
        range(len(scene.objects)),
    )


def colour_of(index: int) -> str:
    """An object's mask colour for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*mask_colour(index))


def _card(
    index: int,
    scene: Scene,
    steps: Sequence[InspectedStep],
    crops: Bundle,
    until: str,
    unit: str,
    store: Store,
) -> Card:
    o, count = scene.objects[index], len(scene.objects)
    own = [s for s in steps if s.record.subject == o.id and s.record.stage in PER_OBJECT]
    absent = "Not made: this object failed before." if o.failure else (
        f"Not made: the run stopped after {until}.")  # fmt: skip
    fit, up = o.fit, _up_in_object(scene.world_from_camera, o.camera_from_object)
    mesh = mesh_preview(store, o.mesh, count, up) if o.mesh else {}
    support = support_name(fit.support, [each.name for each in scene.objects]) if fit else ""
    return Card(
        number=index + 1,
        id=o.id,
        name=o.name,
        label=o.label,
        colour=colour_of(index),
        state=_state(o),
        grade=fit.grade if fit else "",
        facts=_facts(fit, support) if fit else "",
        failure=o.failure or "",
        warnings=fit.warnings if fit else (),
        figures=_figures(fit, support, unit) if fit else (),
        distance=f"{fit.distance:#.3g}" if fit else "",
        outline=f"{fit.silhouette_iou:.3f}" if fit else "",
        residual=percent_of_depth(fit.residual_median) if fit else "",
        seconds=seconds_text(sum(s.record.seconds for s in own)),
        images=_card_images(index, o, own, crops, count, absent, store),
        stills=_card_image(STILLS[up is not None], f"Six shaded views of the mesh of {o.name}",
                        o.mesh, mesh, "turntable.webp", absent),
        notes=_completion_notes(own, store),
        steps=tuple(s.record for s in own),
        viewer_glb=mesh.get("viewer.glb", b""),
    )  # fmt: skip


def _state(o: SceneObject) -> str:
    if o.failure:
        return "failed"
    if o.camera_from_object is not None:
        return "placed"
    made = ((o.mesh, "mesh made"), (o.completion, "completed"))
    return next((state for artifact, state in made if artifact is not None), "found")


def _up_in_object(world_from_camera: Float64 | None, placed: Similarity | None) -> Float64 | None:
    """(3,) the scene's upward direction in the object's frame, None where it is not known."""
    if world_from_camera is None or placed is None:
        return None
    return np.round(placed.rotation.T @ world_from_camera[2, :3], UP_DIGITS)


def _facts(fit: FitReport, support: str) -> str:
    facts = [f"rests on {support}"] if support else []
    if fit.depth_error is not None:
        facts.append(f"depth error {percent_of_depth(fit.depth_error)}")
    if fit.perspective is not None:
        facts.append(f"perspective {fit.perspective:.3f}")
    text = " · ".join(facts)
    return text[:1].upper() + text[1:]


def _figures(fit: FitReport, support: str, unit: str) -> tuple[tuple[str, str], ...]:
    error, perspective = fit.depth_error, fit.perspective
    return (
        ("Grade", fit.grade),
        ("Rests on", support or "unknown"),
        ("Distance", f"{fit.distance:#.4g} {unit}"),
        ("Size (side of its cube)", f"{fit.scale:#.4g} {unit}"),
        ("Outline IoU", f"{fit.silhouette_iou:.4f}"),
        ("Depth residual, median", f"{percent_of_depth(fit.residual_median)} of depth"),
        ("Depth residual, 90 %", f"{percent_of_depth(fit.residual_p90)} of depth"),
        ("Depth error, all visible pixels",
         "unknown" if error is None else f"{percent_of_depth(error)} of depth"),
        ("Perspective (1 fits)", "not looked at" if perspective is None else f"{perspective:.4f}"),
        ("Inlier share", f"{fit.inlier_share:.1%}"),
        ("Points used", f"{fit.points:,}".replace(",", " ")),
        *((f"{f.name} ({f.meaning})", f"{f.value:.4g}") for f in fit.figures),
    )  # fmt: skip


def _card_images(
    index: int,
    o: SceneObject,
    own: Sequence[InspectedStep],
    crops: Bundle,
    count: int,
    absent: str,
    store: Store,
) -> tuple[CardImage, ...]:
    crop = of_object(index, crops)
    image, occluder = crop.get("image"), crop.get("occluder")
    framed = next((s.record.outputs for s in own if s.record.stage == "frame"), {})
    object_crop = framed.get("image")
    context: Files = {}
    if image and occluder:
        context = context_preview(store, image, occluder, index, count)
    completion = cutout_preview(store, o.completion, count) if o.completion else {}
    framed_crop = cutout_preview(store, object_crop, count) if object_crop else {}
    return (
        _card_image("Visible mask", f"{o.name} in the photo, its visible mask outlined",
                 image, context, "context.webp", absent),
        _card_image("Completed", f"{o.name} with hidden parts completed",
                 o.completion, completion, "cutout.webp", absent),
        _card_image("Object crop", f"The crop of {o.name} that the mesh is made from",
                 object_crop, framed_crop, "cutout.webp", absent),
    )  # fmt: skip


def _card_image(
    caption: str, alt: str, artifact: Artifact | None, files: Files, name: str, absent: str
) -> CardImage:
    if artifact is None:
        return CardImage(caption, alt, missing=absent)
    if name not in files:
        return CardImage(caption, alt, missing=DAMAGED)
    return CardImage(caption, alt, uri=data_uri(files[name], ".webp"))


def _completion_notes(own: Sequence[InspectedStep], store: Store) -> tuple[str, ...]:
    """What the completion says about itself; nothing where its note file is lost."""
    for step in own:
        details = step.record.outputs.get("details")
        if step.record.stage == "complete" and details and step.files["details"].intact:
            return tuple(store.load(details, dict)["notes"])
    return ()
