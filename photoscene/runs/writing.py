"""From a reconstruction, finished or with failed objects, to its run folder.

`run`, `rerun` and `segment` write through `write_run`, and so does whoever else makes run folders.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path

from flows.calls import WHOLE_SCENE, Outcome
from flows.request import Request
from photoscene.choosing import MASKS
from photoscene.provenance.asset import asset_record
from photoscene.report.page import report_page
from photoscene.runs.changes import why_computed
from photoscene.runs.folder import ASSET, REPORT, SCENE, Run, object_folder, read_run, read_scene
from photoscene.runs.ownership import identities, owned_files
from photoscene.runs.record import RunRecord, StepRecord
from photoscene.runs.transaction import Content, content_of, renew
from scene.errors import BadInput
from scene.files import encode_json
from scene.png import encode_png
from scene.scene_json import scene_to_json
from scene.store import Store
from scene.text import printable
from scene.types import Artifact, Mask, Photo, PointMap, Scene, SceneObject

VERSIONS_OF = ("numpy", "scipy", "pillow", "opencv-python-headless", "trimesh", "prefect")


@dataclass(frozen=True)
class Reconstruction:
    """What came of a request: the scene, perhaps with failed objects, and of every step.

    photo_name: as people know the photo; seconds: how long it took.
    """

    request: Request
    scene: Scene
    outcomes: Sequence[Outcome]
    photo_name: str
    seconds: float


def write_run(
    folder: Path, made: Reconstruction, store: Store, inputs: Iterable[Path] = ()
) -> list[str]:
    """Write or renew a run's folder with its report, all of it or nothing; returns warnings.

    inputs: the user's files that the run read, which stay as they are, wherever they lie. Only what
    an earlier run wrote is replaced or removed.
    """
    run = run_of(folder, made, store)
    points = made.scene.points and store.load(made.scene.points, PointMap)
    asset = asset_record(made.request, run.record.steps, made.scene, points)
    scene_file = encode_json({**scene_to_json(made.scene), ASSET: asset})
    pages = {REPORT: report_page(run, made.scene, store), SCENE: scene_file}
    if made.request.until == "segment":
        pages[MASKS] = _masks_image(made, store)
    return write_files(run, made.scene, store, pages, inputs)


def run_of(folder: Path, made: Reconstruction, store: Store) -> Run:
    """A reconstruction as the run that its folder will hold; nothing is written yet."""
    names = {o.id: o.name for o in made.scene.objects}
    earlier = _earlier_steps(folder)
    record = RunRecord(
        photo_name=printable(made.photo_name),
        request=made.request,
        store=store.address,
        seconds=round(made.seconds, 3),
        machine={"platform": platform.platform(), "python": platform.python_version()},
        versions=_versions(),
        steps=tuple(_step(outcome, names, earlier) for outcome in made.outcomes),
    )
    return Run(folder, record)


def write_files(
    run: Run,
    scene: Scene,
    store: Store,
    pages: Mapping[str, bytes],
    inputs: Iterable[Path] = (),
) -> list[str]:
    """Write a run's record, the files of its scene and pages, by name, beside them; scene.json is
    one of the pages where it has more than the scene."""
    artifacts: dict[str, Artifact | None] = {"scene.glb": scene.glb, "overlay.png": scene.overlay}
    artifacts |= {"photo.png": scene.photo, "point_map.npz": scene.points}
    for index, o in enumerate(scene.objects):
        within = object_folder(index, o)
        artifacts |= _object_files(within, o, run.record.steps)
        # What a person saved stays as it is, byte for byte.
        edited = run.request.edits_of(o.id).files
        artifacts |= {f"{within}/{file}": artifact for file, artifact in edited.items()}
    contents = {
        name: Content(artifact.sha256, partial(store.read, artifact))
        for name, artifact in artifacts.items()
        if artifact is not None
    }
    pages = {SCENE: encode_json(scene_to_json(scene)), **pages}
    contents |= {name: content_of(data) for name, data in pages.items()}
    return renew(run.folder, contents, run.record, identities(inputs), kept=[MASKS])


def write_report(folder: Path, store: Store) -> list[str]:
    """Write the page of a run folder anew as `report.html`; returns warnings.

    Its images are kept in the store, so a second report of the same scene draws nothing. BadInput
    where the folder holds no run; what the store has lost is named on the page.
    """
    run = read_run(folder)
    return write_page(run, REPORT, report_page(run, read_scene(folder), store))


def write_page(run: Run, name: str, data: bytes) -> list[str]:
    """Write one more file into a run's folder; returns warnings."""
    kept = [*owned_files(run.folder)]
    return renew(run.folder, {name: content_of(data)}, run.record, kept=kept)


def _masks_image(made: Reconstruction, store: Store) -> bytes:
    """The numbered masks, drawn as choosing by hand draws them, as PNG."""
    from photoscene.choosing.choice_image import draw_choice
    from photoscene.choosing.entries import Choice

    opened = next(o.manifest for o in made.outcomes if o.call.stage == "photo" and o.manifest)
    details = store.load(opened.outputs["details"], dict)
    masks = [store.load(o.mask, Mask).pixels for o in made.scene.objects]
    photo = store.load(made.scene.photo, Photo)
    # Words may have given many masks or none: then a prompt's number is no mask's.
    prompts = made.request.prompts if len(made.request.prompts) == len(masks) else ()
    return encode_png(draw_choice(photo, masks, Choice(prompts), details["width"]))


def _object_files(
    folder: Path, o: SceneObject, steps: Sequence[StepRecord]
) -> dict[str, Artifact | None]:
    framed = [s.outputs["image"] for s in steps
              if s.stage == "frame" and s.subject == o.id and s.outputs]  # fmt: skip
    return {
        f"{folder}/mask.png": o.mask,
        f"{folder}/completion.png": o.completion,
        f"{folder}/object_crop.png": framed[-1] if framed else None,
        f"{folder}/mesh.glb": o.mesh,
    }


@cache
def _versions() -> dict[str, str]:
    """Of libraries whose version can change a result."""
    return {name: metadata.version(name) for name in VERSIONS_OF}


def _earlier_steps(folder: Path) -> Sequence[StepRecord]:
    """The steps of the run that the folder held before, none when it held no run."""
    try:
        return read_run(folder).record.steps
    except BadInput:
        return ()


def _step(outcome: Outcome, names: Mapping[str, str], earlier: Sequence[StepRecord]) -> StepRecord:
    call, manifest = outcome.call, outcome.manifest
    step = StepRecord(
        stage=call.stage,
        subject=call.subject,
        name=names.get(call.subject, call.subject if call.subject == WHOLE_SCENE else ""),
        key=call.key,
        backend=call.backend,
        version=call.version,
        settings=call.settings_json,
        weights=call.weights,
        seed=call.seed,
        inputs=dict(sorted(call.inputs.items())),
        outputs=dict(sorted(manifest.outputs.items())) if manifest else {},
        seconds=manifest.seconds if manifest else 0.0,
        computed=outcome.computed,
        failure=outcome.failure,
    )
    return replace(step, why=why_computed(step, list(names.values()), earlier))
