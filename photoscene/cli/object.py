"""`photoscene object`: what its options mean, and how the result is printed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flows.profile import with_setting
from flows.request import Profile, StageChoice
from photoscene.cli.errors import store_root
from photoscene.cli.progress import show_progress
from photoscene.inputs.request import check_local
from photoscene.single_object import ObjectArguments, make_object, mesh_of, notes_of
from scene.errors import BadInput
from scene.store import open_store
from scene.text import printable

DONE = 0
STAGES = ("generate", "finish")


def generate_object(
    arguments: ObjectArguments, store_path: str | None, refresh: bool, as_json: bool
) -> int:
    """Returns the exit status."""
    started = time.monotonic()
    check_local(arguments.output, "-o")
    store = open_store(store_root(store_path))
    with show_progress():
        made = make_object(arguments, store, refresh)
    outcome = made.outcome
    mesh, seconds = mesh_of(outcome, store), time.monotonic() - started
    summary = {
        "status": DONE,
        "object": str(arguments.output),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "texture_px": mesh.texture.shape[0],
        "computed": outcome.computed,
        "key": outcome.call.key,
        "notes": [*made.notes, *notes_of(outcome, store)],
        "seconds": round(seconds, 3),
    }
    whence = "generated" if outcome.computed else "from the store"
    notes = "".join(f"note: {note}\n" for note in summary["notes"])
    text = (
        f"{notes}{arguments.output}: {len(mesh.faces)} faces, texture {mesh.texture.shape[0]} px, "
        f"{whence} in {seconds:.1f} s"
    )
    lines = "\n".join(printable(line) for line in text.splitlines())
    print(json.dumps(summary, indent=1) if as_json else lines)
    return DONE


def object_choices(
    backend: str, given: Mapping[str, Any], assignments: Sequence[str]
) -> tuple[StageChoice, StageChoice | None]:
    """The generate backend with the settings of options of their own, None for not given, and of
    --set; the finish backend, if --set names one."""
    settings = {name: value for name, value in given.items() if value is not None}
    profile = Profile("object", {"generate": StageChoice(backend, settings)})
    for assignment in assignments:
        if assignment.partition(".")[0].strip() not in STAGES:
            stages = " and ".join(STAGES)
            raise BadInput(f"--set {assignment}: one object has settings of {stages} only")
        profile = with_setting(profile, assignment)
    return profile.stages["generate"], profile.stages.get("finish")


def field_of_view(given: str) -> float | None:
    """Degrees of `--fov`; None for "auto"."""
    if given == "auto":
        return None
    try:
        return float(given)
    except ValueError:
        raise BadInput(f"--fov {given}: expected degrees, or auto") from None
