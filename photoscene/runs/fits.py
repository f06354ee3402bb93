"""The objects of a run with their fits, and how a fit is described in text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from photoscene.runs.folder import SCENE, Run, read_scene
from scene.errors import BadInput
from scene.files import fit_to_json
from scene.types import FitReport, SceneObject

GOOD, FAILED = "good", "failed"  # of the grades of `alignment/fit.py`
PLANE = "the support plane"


@dataclass(frozen=True)
class ObjectFit:
    """An object of a run as it is reported.

    number: from 1; failure: why it was lost, None otherwise; fit: None before it is placed;
    rests_on: the name of what supports it, "" where that is unknown.
    """

    number: int
    id: str
    name: str
    label: str
    failure: str | None
    fit: FitReport | None
    rests_on: str


def object_fits(run: Run) -> tuple[ObjectFit, ...]:
    """The objects of a run folder, by its scene.json; BadInput where that is damaged."""
    objects = read_scene(run.folder).objects
    names = [o.name for o in objects]
    try:
        return tuple(
            ObjectFit(
                number, o.id, o.name, o.label, o.failure, o.fit,
                support_name(o.fit.support, names) if o.fit else "",
            )
            for number, o in enumerate(objects, 1)
        )  # fmt: skip
    except (ValueError, IndexError):
        raise BadInput(f"{run.folder / SCENE} is missing or damaged: repeat the run") from None


def object_fit_to_json(o: ObjectFit) -> dict[str, Any]:
    """Plain JSON."""
    return {**asdict(o), "fit": o.fit and fit_to_json(o.fit)}


def find_object(run: Run, name: str, option: str = "--object") -> str:
    """The id of a run's object by number (from 1), name or id, given by an option; BadInput lists
    what there is."""
    objects = object_fits(run)
    for o in objects:
        if name in (str(o.number), o.name, o.id):
            return o.id
    listed = ", ".join(f"{o.number} ({o.name})" for o in objects) or "none"
    raise BadInput(f"{option} {name}: the run has {listed}")


def has_failed(o: SceneObject) -> bool:
    """Whether an object counts as a failure: it was lost, or its placement is graded "failed"."""
    return o.failure is not None or (o.fit is not None and o.fit.grade == FAILED)


def support_name(support: str, names: Sequence[str]) -> str:
    """What an object rests on, in words; "" where that is unknown.

    support: as in `FitReport`; names: of the scene's objects, in their order.
    """
    if not support.startswith("object "):
        return PLANE if support else ""
    return names[int(support.removeprefix("object ")) - 1]


def percent_of_depth(fraction: float) -> str:
    """A relative depth error as a short text; "< 0.01 %" where two digits would show none."""
    return "< 0.01 %" if 0 < fraction < 1e-4 else f"{fraction * 100:.2f} %"
