"""run.json as values: what was asked, every step with what it read and made, times and versions.

`RunRecord` has one reader, `record_from_json`, and one writer, `encode_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from flows.request import Request, request_from_json, request_to_json
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest
from scene.manifests import artifact_from_json
from scene.types import Artifact

FORMAT = "photoscene-run/1"
RECORD, FILES, SEAL = "run.json", "files", "seal"


@dataclass(frozen=True)
class StepRecord:
    """One step of a run: how it was done, what it read and made, and why it was computed.

    subject: the id of its object, or `WHOLE_SCENE`; name: the object's; seconds: what the result
    cost when it was computed; computed is False where the store had it; why: in words.
    """

    stage: str
    subject: str
    name: str
    key: str
    backend: str
    version: str
    settings: Mapping[str, Any]
    weights: str
    seed: int
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Artifact]
    seconds: float
    computed: bool
    failure: str | None
    why: str = ""

    @property
    def state(self) -> str:
        """failed, computed or stored."""
        return "failed" if self.failure else "computed" if self.computed else "stored"


@dataclass(frozen=True)
class RunRecord:
    """A run. files: the sha256 of every file that it wrote, by name within the folder; runs of
    older versions list none."""

    photo_name: str
    request: Request
    store: str
    seconds: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    steps: tuple[StepRecord, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def encode_record(record: RunRecord) -> bytes:
    """run.json, with a seal that shows whether anybody changed it since."""
    steps = [asdict(step) for step in record.steps]
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    request = request_to_json(record.request)
    return sealed({**values, "format": FORMAT, "request": request, "steps": steps})


def sealed(value: Mapping[str, Any]) -> bytes:
    """A record's JSON with its checksum inside."""
    return encode_json({**value, SEAL: digest(encode_json(value))})


def record_from_json(value: Any, path: object) -> RunRecord:
    """The inverse of `encode_record`, for the content of the file at path.

    Raises BadInput for another format; KeyError, TypeError or AttributeError for a damaged record.
    """
    if value["format"] != FORMAT:
        raise BadInput(f"{path} has format {value['format']!r}, expected {FORMAT}: "
                         "repeat the run with this version and another -o")  # fmt: skip
    steps = tuple(_step_from_json(step) for step in value["steps"])
    return RunRecord(
        photo_name=value["photo_name"],
        request=request_from_json(value["request"]),
        store=value["store"],
        seconds=value["seconds"],
        machine=value["machine"],
        versions=value["versions"],
        steps=steps,
        files=value.get(FILES, {}),
    )


def _step_from_json(value: Mapping[str, Any]) -> StepRecord:
    names = [f.name for f in fields(StepRecord)]
    missing = sorted({*names} - {*value})
    if missing:
        raise KeyError(", ".join(missing))
    artifacts = {
        group: {name: artifact_from_json(a) for name, a in value[group].items()}
        for group in ("inputs", "outputs")
    }
    return StepRecord(**{**{name: value[name] for name in names}, **artifacts})
