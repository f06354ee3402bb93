"""`photoscene check`: checks a photo and prints the findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flows.steps.photo import MAX_SIDE_PX
from photoscene.inputs.request import check_licence, read_boxes, read_file
from photoscene.readiness import READY, Readiness, check_photo
from photoscene.readiness.findings import NOTABLE
from scene.errors import BadInput
from scene.text import printable

DONE, NOT_READY = 0, 1


def check_readiness(
    photo: Path, masks: Sequence[Path], boxes: Sequence[str], licence: str, as_json: bool
) -> int:
    """Check a photo, print the findings, return the exit status."""
    licence = check_licence(licence)
    data = read_file(photo, "photo")
    named = [(str(mask), read_file(mask, "--mask")) for mask in masks]
    try:
        found = check_photo(data, MAX_SIDE_PX, named, read_boxes(boxes))
    except BadInput as error:
        message = str(error)
        raise BadInput(
            message if message.startswith("--") else f"photo {photo} {message}"
        ) from None
    print(
        readiness_json(found, licence)
        if as_json
        else f"{readiness_text(found, photo.name)}\n{licence_text(licence)}"
    )
    return DONE if found.ready else NOT_READY


def readiness_json(found: Readiness, licence: str) -> str:
    """One JSON document."""
    listed = [asdict(finding) for finding in found.findings]
    return json.dumps(
        {
            "score": found.score,
            "ready": found.ready,
            "threshold": READY,
            "findings": listed,
            "licence": licence or None,
        },
        indent=1,
    )


def licence_text(licence: str) -> str:
    """What is known of the right to use the photo, or the question for it."""
    if licence:
        return f"  licence: {printable(licence)}"
    return (
        "  licence: not given: whose photo is it, and what may be done with it? Name it by "
        "`run --licence`: scene.json and exports carry it"
    )


def readiness_text(found: Readiness, name: str) -> str:
    """The score, then a line and an advice for each finding that costs points, then the others."""
    verdict = "ready" if found.ready else f"not ready (below {READY})"
    lines = [f"{found.score} of 100: {printable(name)} is {verdict}"]
    costly = [f for f in found.findings if f.penalty >= NOTABLE]
    for finding in costly:
        value = "" if finding.value is None else f"{finding.value:.3g} {finding.unit}"
        lines.append(f"  -{finding.penalty:<4.0f} {finding.name}: {value}")
        lines.append(f"        {finding.advice}")
    fine = ", ".join(f.name for f in found.findings if f.penalty < NOTABLE and f.value is not None)
    unknown = ", ".join(f.name for f in found.findings if f.value is None)
    lines += [f"  fine: {fine}"] if fine else []
    lines += [f"  cannot be told from this photo: {unknown}"] if unknown else []
    return "\n".join(lines)
