"""One object from its cut-out, or from posed views: the generate stage by itself, cached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.calls import Outcome, backend_call
from flows.compute import produce
from flows.request import StageChoice
from photoscene.device import check_device, chosen_device
from photoscene.inputs.request import check_seed
from scene import bundles
from scene.bundles import pack_object_crop, pack_views
from scene.errors import BadInput
from scene.images import decode_cutout
from scene.keys import digest
from scene.store import Store, copy_artifact
from scene.types import Artifact, ObjectMesh, PosedView
from stages import generate
from stages.crops import cutout_crop
from stages.devices import ModelPool

SUBJECT = "object"
MAX_FOV_DEG = 170.0


@dataclass(frozen=True)
class ObjectArguments:
    """The arguments of `photoscene object`: a cut-out, or a file of posed views instead of it.

    choice: the generate backend and its settings; fov_x_deg: of the framed cut-out; device: where
    the networks run, as `--device` names it; force: write over any output that is there.
    """

    cutout: Path | None
    views: Path | None
    output: Path
    choice: StageChoice
    fov_x_deg: float
    seed: int
    device: str
    force: bool = False


def make_object(arguments: ObjectArguments, store: Store, refresh: bool) -> Outcome:
    """Generate the object and write its GLB; the result is in the store too.

    Raises BadInput for input that cannot be used, before anything heavy is loaded.
    """
    if (arguments.cutout is None) == (arguments.views is None):
        raise BadInput("give one CUTOUT, or --view FILE with several posed views")
    if arguments.output.suffix.lower() != ".glb":
        raise BadInput(f"-o {arguments.output}: expected a name that ends in .glb")
    if not 1 <= arguments.fov_x_deg <= MAX_FOV_DEG:
        raise BadInput(f"--fov {arguments.fov_x_deg:g}: expected 1 to {MAX_FOV_DEG:g} degrees")
    _check_output(arguments, store)
    check_device(arguments.device)
    check_seed(arguments.seed)
    if arguments.cutout is not None:
        inputs = _cutout_inputs(store, arguments.cutout, math.radians(arguments.fov_x_deg))
    else:
        assert arguments.views is not None
        inputs = _view_inputs(store, arguments.views)
    chosen = arguments.choice
    call = backend_call(
        generate.STAGE, chosen.backend, chosen.settings, SUBJECT, inputs, arguments.seed
    )
    known = None if refresh else store.lookup(call.key)
    if known is None:
        outcome = produce(call, store, ModelPool(chosen_device(arguments.device)), refresh)
    else:
        outcome = Outcome(call, known)  # without torch
    assert outcome.manifest is not None  # a failure raises
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    # Through a link that the user named, not over it.
    copy_artifact(store, outcome.manifest.outputs["mesh"], arguments.output.resolve())
    return outcome


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
    stored = store.path(Artifact("mesh", digest(output.read_bytes()), ".glb"))
    if not arguments.force and not stored.exists():
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


def _cutout_inputs(store: Store, file: Path, fov_x_rad: float) -> dict[str, Artifact]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"cut-out {file}: {error.strerror}") from None
    try:
        crop = cutout_crop(decode_cutout(data), fov_x_rad)
    except BadInput as error:
        raise BadInput(f"cut-out {file} {error}") from None
    return pack_object_crop(store, crop)


def _view_inputs(store: Store, file: Path) -> dict[str, Artifact]:
    from pixal3d import BadImage, read_views

    try:
        posed, mesh_scale = read_views(file)
    except BadImage as error:
        raise BadInput(str(error)) from None
    views = [PosedView(v.rgba, v.fov_x_rad, v.world_from_camera.astype(np.float64)) for v in posed]
    return pack_views(store, views, mesh_scale)
