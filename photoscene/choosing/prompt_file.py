"""The prompt file: what was chosen, for `run --prompts`, and how, for going on later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.request import prompt_from_json
from photoscene.choosing.entries import Session, begin
from scene.atomic import write_atomically
from scene.errors import BadInput
from scene.types import ObjectPrompt

FORMAT = "photoscene-prompts/1"


@dataclass(frozen=True)
class ChosenPhoto:
    """Which photo the coordinates belong to: pixels of the upright photo, before any reduction."""

    name: str
    sha256: str
    width: int
    height: int


def save_prompts(
    path: Path, photo: ChosenPhoto, session: Session, accepted: bool, drawn: Sequence[str] = ()
) -> None:
    """Write the prompt file, atomically; drawn: sha256 of the images that may lie beside it."""
    lines = [
        f'"format": "{FORMAT}"',
        f'"photo": {json.dumps(vars(photo))}',
        f'"accepted": {json.dumps(accepted)}',
        f'"drawn": {json.dumps([*drawn])}',
        f'"objects": {_listed([prompt_to_json(o) for o in session.present.objects])}',
        f'"start": {_listed([prompt_to_json(o) for o in session.start])}',
        f'"entries": {_listed(session.entries)}',
    ]
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def load_session(path: Path, photo: ChosenPhoto) -> Session:
    """The session of a prompt file; BadInput when it is damaged or for another photo.

    Objects that were edited by hand count, and the journal then begins with them.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise BadInput("it is not a file of this version of photoscene")
        if value["photo"]["sha256"] != photo.sha256:
            raise BadInput(f"it is for another photo ({value['photo']['name']})")
        objects = tuple(prompt_from_json(o) for o in value["objects"])
        start = tuple(prompt_from_json(o) for o in value["start"])
        entries = tuple(value["entries"])
        if not all(isinstance(entry, str) for entry in entries):
            raise BadInput("entries are not all words")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise _refused(path, reason) from None
    try:
        replayed = begin(start, entries)
    except BadInput as error:
        raise _refused(path, str(error)) from None
    return replayed if replayed.present.objects == objects else begin(objects)


def _refused(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path}: {reason}; give another -o to choose anew")


def prompt_to_json(prompt: ObjectPrompt) -> dict[str, Any]:
    """What `prompt_from_json` reads, without what is empty."""
    value: dict[str, Any] = {"label": prompt.label, "text": prompt.text}
    value = {name: text for name, text in value.items() if text}
    if prompt.box is not None:
        value["box"] = [_plain(v) for v in prompt.box]
    if prompt.points:
        value["points"] = [
            [_plain(p.x_px), _plain(p.y_px), int(p.foreground)] for p in prompt.points
        ]
    return value


def _listed(values: list[Mapping[str, Any]] | tuple[str, ...]) -> str:
    """A JSON list with one line per entry: easy to read, to edit and to compare."""
    if not values:
        return "[]"
    return "[\n" + ",\n".join("  " + json.dumps(v) for v in values) + "\n]"


def _plain(value: float) -> float | int:
    """120.0 as 120; the number that is read back is the same."""
    return int(value) if value == int(value) else value
