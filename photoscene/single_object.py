"""One object from its cut-out, or from posed views: the stages generate and finish, cached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.calls import Outcome, StageCall, backend_call
from flows.compute import produce
from flows.request import StageChoice
from flows.steps.photo import MAX_SIDE_PX
from photoscene.device import check_device, chosen_device
from photoscene.inputs.request import check_seed
from scene import bundles
from scene.bundles import pack_object_crop, pack_views
from scene.errors import BadInput
from scene.images import NotCutOut, decode_cutout, decode_photo
from scene.keys import digest
from scene.store import Store, copy_artifact
from scene.types import Artifact, Cutout, ObjectMesh, Photo, PointMap, PosedView, Uint8
from stages import finish, generate, map_points
from stages.crops import cutout_crop
from stages.devices import ModelPool
from stages.settings import make_settings

SUBJECT = "object"
MAX_FOV_DEG = 170.0
FOV_BACKEND = "moge"  # estimates the field of view of a framed cut-out, as the released code does


@dataclass(frozen=True)
class ObjectArguments:
    """The arguments of `photoscene object`: a cut-out, or a file of posed views instead of it.

    choice: the generate backend and its settings; fov_x_deg: of the framed cut-out, None to
    estimate it; device: where the networks run, as `--device` names it; force: write over any
    output that is there; finisher: the finish backend and its settings, None for none.
    """

    cutout: Path | None
    views: Path | None
    output: Path
    choice: StageChoice
    fov_x_deg: float | None
    seed: int
    device: str
    force: bool = False
    finisher: StageChoice | None = None


@dataclass(frozen=True)
class MadeObject:
    """The outcome of the last step, and what is to be said of the input and earlier steps."""

    outcome: Outcome
    notes: tuple[str, ...] = ()


def make_object(arguments: ObjectArguments, store: Store, refresh: bool) -> MadeObject:
    """Generate the object, finish it if that is asked for, and write its GLB; the store has both.

    Raises BadInput for input that cannot be used, before anything heavy is loaded.
    """
    if (arguments.cutout is None) == (arguments.views is None):
        raise BadInput("give one CUTOUT, or --view FILE with several posed views")
    if arguments.output.suffix.lower() != ".glb":
        raise BadInput(f"-o {arguments.output}: expected a name that ends in .glb")
    fov_x_deg = arguments.fov_x_deg
    if fov_x_deg is not None and not 1 <= fov_x_deg <= MAX_FOV_DEG:
        raise BadInput(f"--fov {fov_x_deg:g}: expected 1 to {MAX_FOV_DEG:g} degrees, or auto")
    _check_finisher(arguments)
    _check_output(arguments, store)
    check_device(arguments.device)
    check_seed(arguments.seed)
    if arguments.cutout is not None:
        inputs, notes = _cutout_inputs(store, arguments.cutout, fov_x_deg, arguments.device)
    else:
        assert arguments.views is not None
        inputs, notes = _view_inputs(store, arguments.views), ()
    chosen = arguments.choice
    call = backend_call(
        generate.STAGE, chosen.backend, chosen.settings, SUBJECT, inputs, arguments.seed
    )
    outcome = _known_or_made(call, store, arguments.device, refresh)
    if arguments.finisher is not None:
        notes = (*notes, *notes_of(outcome, store))
        outcome = _finished(arguments.finisher, inputs, outcome, store, arguments, refresh)
    assert outcome.manifest is not None  # a failure raises
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    # Through a link that the user named, not over it.
    copy_artifact(store, outcome.manifest.outputs["mesh"], arguments.output.resolve())
    return MadeObject(outcome, notes)


def _finished(
    chosen: StageChoice, crop: dict[str, Artifact], generated: Outcome, store: Store,
    arguments: ObjectArguments, refresh: bool,
) -> Outcome:  # fmt: skip
    """The asset of what was generated in an object crop."""
    assert generated.manifest is not None
    made = generated.manifest.outputs
    inputs = {name: made[name] for name in bundles.MESH_NAMES if name in made}
    inputs |= {name: crop[name] for name in ("image", "camera")}
    call = backend_call(
        finish.STAGE, chosen.backend, chosen.settings, SUBJECT, inputs, arguments.seed
    )
    return _known_or_made(call, store, arguments.device, refresh)


def _check_finisher(arguments: ObjectArguments) -> None:
    """BadInput where finishing must fail after all that generating takes."""
    chosen = arguments.finisher
    if chosen is None:
        return
    if arguments.views is not None:
        raise BadInput("--set finish.backend: an asset needs one CUTOUT, not --view: leave it out")
    make_settings(finish.STAGE, chosen.backend, chosen.settings)


def _known_or_made(call: StageCall, store: Store, device: str, refresh: bool = False) -> Outcome:
    """What the store knows, without torch; else what is computed."""
    known = None if refresh else store.lookup(call.key)
    if known is not None:
        return Outcome(call, known)
    return produce(call, store, ModelPool(chosen_device(device)), refresh)


def _check_output(arguments: ObjectArguments, store: Store) -> None:
    """BadInput where the output is there and its bytes would be lost: it is no stored result."""
    output = arguments.output
    if not output.exists():
        return
    if not output.is_file():
        raise BadInput(f"-o {output} is not a regular file: give another name")
    for path in (arguments.cutout, arguments.views):
        if path is not None and path.exists() and output.samefile(path):
            raise BadInput(f"-o {output} is an input: give another name")
    made_before = store.has(Artifact("mesh", digest(output.read_bytes()), ".glb"))
    if not arguments.force and not made_before:
        raise BadInput(
            f"-o {output} exists, and is no result in this store, or was changed since: give "
            "another name, or --force to write over it"
        )


def mesh_of(outcome: Outcome, store: Store) -> ObjectMesh:
    """The generated mesh."""
    assert outcome.manifest is not None
    return store.load(outcome.manifest.outputs["mesh"], ObjectMesh)


def notes_of(outcome: Outcome, store: Store) -> list[str]:
    """What the generator said of the object."""
    assert outcome.manifest is not None
    return bundles.notes_of(store, outcome.manifest.outputs)


def _cutout_inputs(
    store: Store, file: Path, fov_x_deg: float | None, device: str
) -> tuple[dict[str, Artifact], tuple[str, ...]]:
    """The framed cut-out as the generate stage is given it, and notes."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"cut-out {file}: {error.strerror}") from None
    try:
        cutout, notes = decoded_cutout(data)
        if fov_x_deg is None:
            framed = cutout_crop(cutout, math.radians(MAX_FOV_DEG / 2)).rgba
            fov_x_deg, estimated = _estimated_fov(store, framed, device)
            notes = (*notes, *estimated)
        crop = cutout_crop(cutout, math.radians(fov_x_deg))
    except BadInput as error:
        raise BadInput(f"cut-out {file} {error}") from None
    return pack_object_crop(store, crop), notes


def decoded_cutout(data: bytes) -> tuple[Cutout, tuple[str, ...]]:
    """The object on transparency; of an opaque picture it is what stands out, which a note says."""
    try:
        return decode_cutout(data), ()
    except NotCutOut:
        from photoscene.matting import cut_out

        cutout = cut_out(decode_photo(data, MAX_SIDE_PX)[0])
    part = float((cutout.rgba[..., 3] > 0).mean())
    return cutout, (f"no transparency: what stands out was cut out, {part:.0%} of the picture",)


def _estimated_fov(store: Store, rgba: Uint8, device: str) -> tuple[float, tuple[str, ...]]:
    """The horizontal field of view in degrees of a framed cut-out, seen on black, and notes.

    Kept in the store, so that the same cut-out needs no network again. Raises MissingWeights.
    """
    seen = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255)).astype(np.uint8)
    size = {"width": rgba.shape[1], "height": rgba.shape[0], "focal_35mm": None}
    inputs = {"photo": store.save(Photo(seen)), "size": store.save(size), "camera": store.save({})}
    call = backend_call(map_points.STAGE, FOV_BACKEND, {}, SUBJECT, inputs, 0)
    outcome = _known_or_made(call, store, device)
    assert outcome.manifest is not None
    point_map = store.load(outcome.manifest.outputs["point_map"], PointMap)
    return math.degrees(point_map.camera.fov_x_rad), point_map.notes


def _view_inputs(store: Store, file: Path) -> dict[str, Artifact]:
    from pixal3d import BadImage, read_views

    try:
        posed, mesh_scale = read_views(file)
    except BadImage as error:
        raise BadInput(str(error)) from None
    views = [PosedView(v.rgba, v.fov_x_rad, v.world_from_camera.astype(np.float64)) for v in posed]
    return pack_views(store, views, mesh_scale)
