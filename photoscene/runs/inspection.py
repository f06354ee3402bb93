"""What a run's steps read and made, with every file checked: the data of `photoscene inspect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.calls import WHOLE_SCENE
from flows.plan import STEPS
from photoscene.runs.fits import (
    FAILED,
    ObjectFit,
    object_fit_to_json,
    object_fits,
    percent_of_depth,
)
from photoscene.runs.folder import Run
from photoscene.runs.record import StepRecord
from scene.bundles import split_name
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact

COLUMNS = ("stage", "object", "backend", "version", "key", "state", "seconds", "reads", "why")
OBJECT_COLUMNS = ("object", "name", "grade", "scale", "distance", "residual", "90 %", "agree",
                  "points", "outline", "depth error", "perspective", "rests on",
                  "remarks")  # fmt: skip
GIVEN = "given"  # what no step made: the user's files and words


@dataclass(frozen=True)
class InspectedFile:
    """A file in the store that a step made; intact: it is there and has its checksum."""

    path: str
    sha256: str
    kind: str
    intact: bool


@dataclass(frozen=True)
class InspectedStep:
    """A step, what made the inputs that it read ("generate mug"), and its files by output name."""

    record: StepRecord
    reads: tuple[str, ...]
    files: Mapping[str, InspectedFile]

    @property
    def intact(self) -> bool:
        """Whether all its files are."""
        return all(file.intact for file in self.files.values())


@dataclass(frozen=True)
class Inspection:
    """A run's steps and objects, or some of them."""

    run: Run
    store: Store
    objects: tuple[ObjectFit, ...]
    steps: tuple[InspectedStep, ...]

    @property
    def intact(self) -> bool:
        """Whether all files of the steps are."""
        return all(step.intact for step in self.steps)


def inspect_run(run: Run, store: Store) -> Inspection:
    """Check every file of a run."""
    return Inspection(run, store, object_fits(run), inspect_steps(run.record.steps, store))


def inspect_steps(steps: Sequence[StepRecord], store: Store) -> tuple[InspectedStep, ...]:
    """The steps of a record with every file checked and every input's maker."""
    return tuple(
        InspectedStep(step, tuple(sorted(set(makers.values()), key=_order)), _files(step, store))
        for step, makers in zip(steps, input_makers(steps), strict=True)
    )


def input_makers(steps: Sequence[StepRecord]) -> list[dict[str, str]]:
    """For each step, in the order of the DAG, which step made each of its inputs, by input name.

    Content may be equal by chance (a completion that changed nothing): then the output of the same
    name counts, and of those the latest.
    """
    made: dict[str, list[tuple[str, str]]] = {}  # sha256 -> (output name, step) in order
    makers = []
    for step in steps:
        makers.append({n: _maker(n, made.get(a.sha256, [])) for n, a in step.inputs.items()})
        subject = "" if step.subject == WHOLE_SCENE else f" {step.name}"
        for name, artifact in step.outputs.items():
            made.setdefault(artifact.sha256, []).append((name, step.stage + subject))
    return makers


def only(found: Inspection, object_id: str | None = None, stage: str | None = None) -> Inspection:
    """The part of an inspection that is about one object, one stage, or both.

    Raises BadInput for a stage that the run has not.
    """
    stages = list(dict.fromkeys(s.record.stage for s in found.steps))
    if stage is not None and stage not in stages:
        raise BadInput(f"--stage {stage}: the run has {', '.join(stages)}")
    steps = tuple(
        s for s in found.steps
        if stage in (None, s.record.stage) and object_id in (None, s.record.subject)
    )  # fmt: skip
    objects = tuple(o for o in found.objects if object_id in (None, o.id))
    return replace(found, objects=objects, steps=steps)


def inspection_to_json(found: Inspection) -> dict[str, Any]:
    """Per step: key, backend, version, settings, inputs, files with sha256 and state, cost, why."""
    return {
        "run": str(found.run.folder),
        "photo": found.run.record.photo_name,
        "profile": found.run.request.profile.name,
        "store": found.store.address,
        "seconds": found.run.record.seconds,
        "intact": found.intact,
        "objects": [object_fit_to_json(o) for o in found.objects],
        "steps": [_step_to_json(step) for step in found.steps],
    }


def inspection_table(found: Inspection) -> str:
    """The steps as text, one line each; then the objects' fits likewise, and what is damaged."""
    lines = aligned([COLUMNS, *(_step_row(step) for step in found.steps)])
    if found.objects:
        lines += ["", *aligned([OBJECT_COLUMNS, *(_object_row(o) for o in found.objects)])]
    lines += [
        f"damaged or missing: {step.record.stage} {step.record.name} {name} ({file.path}); "
        "run again to remake it"
        for step in found.steps
        for name, file in step.files.items()
        if not file.intact
    ]
    return "\n".join(lines)


def paths_of(found: Inspection) -> list[str]:
    """The files that the steps made, in their order, each once."""
    return list(dict.fromkeys(f.path for s in found.steps for f in s.files.values()))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def _maker(name: str, candidates: Sequence[tuple[str, str]]) -> str:
    _, kind = split_name(name)
    best = [step for output, step in candidates if split_name(output)[1] == kind]
    return (best or [step for _, step in candidates] or [GIVEN])[-1]


def _files(step: StepRecord, store: Store) -> dict[str, InspectedFile]:
    return {name: _inspect_file(artifact, store) for name, artifact in step.outputs.items()}


def _inspect_file(artifact: Artifact, store: Store) -> InspectedFile:
    return InspectedFile(
        str(store.path(artifact)), artifact.sha256, artifact.kind, store.has(artifact)
    )


def _order(source: str) -> tuple[int, str]:
    """Sources in the order of the DAG, what was given first."""
    stages = (GIVEN, *STEPS)
    return stages.index(source.split(" ")[0]), source


def _step_to_json(step: InspectedStep) -> dict[str, Any]:
    own = {k: v for k, v in asdict(step.record).items() if k not in ("inputs", "outputs")}
    return {
        **dict(sorted(own.items())),
        "inputs": {name: a.sha256 for name, a in step.record.inputs.items()},
        "reads": list(step.reads),
        "files": {name: asdict(file) for name, file in step.files.items()},
    }


def _step_row(step: InspectedStep) -> tuple[str, ...]:
    """A step as a row below `COLUMNS`."""
    s = step.record
    return (s.stage, s.name, s.backend, s.version, s.key[:12], s.state, f"{s.seconds:.2f}",
            _counted(step.reads), s.failure or s.why)  # fmt: skip


def _counted(sources: Sequence[str]) -> str:
    """Sources with the objects of one stage counted."""
    counts: dict[str, int] = {}
    for source in sources:
        stage = source.split(" ")[0]
        counts[stage] = counts.get(stage, 0) + 1
    return " ".join(stage if n == 1 else f"{stage}({n})" for stage, n in counts.items())


def _object_row(o: ObjectFit) -> tuple[str, ...]:
    """An object as a row below `OBJECT_COLUMNS`; "-" for what was not measured."""
    fit = o.fit
    if fit is None:
        unknown = ("-",) * (len(OBJECT_COLUMNS) - 4)
        grade, remark = (FAILED, o.failure) if o.failure else ("-", "not placed")
        return (str(o.number), o.name, grade, *unknown, remark)
    return (
        str(o.number), o.name, fit.grade, f"{fit.scale:.4g}", f"{fit.distance:.4g}",
        percent_of_depth(fit.residual_median), percent_of_depth(fit.residual_p90),
        f"{fit.inlier_share:.0%}", str(fit.points), f"{fit.silhouette_iou:.3f}",
        "-" if fit.depth_error is None else percent_of_depth(fit.depth_error),
        "-" if fit.perspective is None else f"{fit.perspective:.3f}",
        o.rests_on or "-",
        "; ".join([*fit.warnings, *(f"{f.name} {f.value:.4g}" for f in fit.figures)]),
    )  # fmt: skip
