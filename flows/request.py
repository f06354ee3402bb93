"""Everything one reconstruction is asked for, as plain values that travel to any node."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scene.errors import BadInput
from scene.manifests import artifact_from_json
from scene.types import Artifact, ObjectPrompt, Point

# What a person may change of an object in a run folder.
EDITED_FILES = {"mask": "mask.png", "completion": "completion.png", "mesh": "mesh.glb"}
MAX_WORDS_LENGTH = 1000  # of a label or a description
MAX_COORDINATE_PX = 1e9  # far outside any photo; also keeps infinity and NaN out


@dataclass(frozen=True)
class StageChoice:
    """A stage's backend by name, and the settings that differ from the backend's defaults.

    on_out_of_memory: settings to try instead, for an object's step that ran out of memory.
    """

    backend: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    on_out_of_memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """A name, and the choice for every stage that is wanted: an optional one may lack."""

    name: str
    stages: Mapping[str, StageChoice]


@dataclass(frozen=True)
class MaskFile:
    """A user's mask picture as it came, and the label it stands for."""

    file: Artifact
    label: str


@dataclass(frozen=True)
class Edits:
    """Files of one object that a person changed by hand, as they were saved.

    completion_camera: of the context crop that the completion was edited in; mesh_camera: of the
    object crop whose axes the mesh has; mesh_place: where it stood in the scene, None for nowhere.
    """

    mask: Artifact | None = None
    completion: Artifact | None = None
    completion_camera: Artifact | None = None
    mesh: Artifact | None = None
    mesh_camera: Artifact | None = None
    mesh_place: Artifact | None = None

    @property
    def names(self) -> list[str]:
        """What of the object was edited."""
        return [name for name in EDITED_FILES if getattr(self, name) is not None]

    @property
    def files(self) -> dict[str, Artifact]:
        """The edited files by what they are called in the object's folder."""
        return {EDITED_FILES[name]: getattr(self, name) for name in self.names}


NO_EDITS = Edits()


@dataclass(frozen=True)
class Request:
    """One photo and all that was said about it; files are artifacts, so paths do not matter.

    camera: {} (unknown), {"fov_x_deg": ...} or {"width", "height", "K"}; overrides: per object id,
    stage settings that differ from the profile's, and perhaps a "seed"; edits: per object id;
    notes: what was said when the files were read, for the scene's; licence: of the photo, in words,
    "" where nobody said.
    """

    photo: Artifact
    profile: Profile
    masks: tuple[MaskFile, ...] = ()
    prompts: tuple[ObjectPrompt, ...] = ()
    point_map: Artifact | None = None
    camera: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    until: str = "compose"
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    edits: Mapping[str, Edits] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    licence: str = ""

    @property
    def files(self) -> tuple[Artifact, ...]:
        """Everything that a person gave, as files."""
        given = (self.photo, *(mask.file for mask in self.masks), self.point_map)
        edited = (artifact for edits in self.edits.values() for artifact in vars(edits).values())
        return tuple(artifact for artifact in (*given, *edited) if artifact is not None)

    def edits_of(self, object_id: str) -> Edits:
        """What was changed by hand of one object."""
        return self.edits.get(object_id, NO_EDITS)


def request_to_json(request: Request) -> dict[str, Any]:
    """Plain JSON; `request_from_json` reads it back."""
    value = asdict(request)
    if not request.licence:
        del value["licence"]  # records of versions that knew none stay as they are
    return value


def request_from_json(value: Mapping[str, Any]) -> Request:
    """The inverse of `request_to_json`."""
    profile = value["profile"]
    stages = {name: StageChoice(**choice) for name, choice in profile["stages"].items()}
    return Request(
        photo=artifact_from_json(value["photo"]),
        profile=Profile(profile["name"], stages),
        masks=tuple(MaskFile(artifact_from_json(m["file"]), m["label"]) for m in value["masks"]),
        prompts=tuple(prompt_from_json(p) for p in value["prompts"]),
        point_map=artifact_from_json(value["point_map"]) if value["point_map"] else None,
        camera=value["camera"],
        seed=value["seed"],
        until=value["until"],
        overrides=value["overrides"],
        edits={
            object_id: Edits(**{n: a and artifact_from_json(a) for n, a in files.items()})
            for object_id, files in value.get("edits", {}).items()
        },
        notes=tuple(value.get("notes", ())),
        licence=value.get("licence", ""),
    )


def prompt_from_json(value: Mapping[str, Any]) -> ObjectPrompt:
    """One object's prompt; points as {"x_px", "y_px", "foreground"} or [x, y] or [x, y, 0 or 1].

    Raises BadInput for anything else: other types, numbers that are not finite, inverted boxes.
    """
    if not isinstance(value, Mapping):
        raise BadInput(f"a prompt is {{...}}, not {_shown(value)}")
    unknown = set(value) - {"label", "text", "box", "points"}
    if unknown:
        raise BadInput(f"a prompt has label, text, box and points, not {_shown(sorted(unknown))}")
    return ObjectPrompt(
        label=_words(value, "label"),
        text=_words(value, "text"),
        box=None if value.get("box") is None else _box(value["box"]),
        points=tuple(_point_from_json(p) for p in _listed(value.get("points"))),
    )


def _words(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str | None):
        raise BadInput(f"{name} {_shown(text)}: expected words")
    if text and len(text) > MAX_WORDS_LENGTH:
        raise BadInput(f"{name} has {len(text)} characters: at most {MAX_WORDS_LENGTH} are taken")
    if text and any("\ud800" <= c <= "\udfff" for c in text):
        raise BadInput(f"{name} {_shown(text)} has half of a character: write it anew")
    return text or ""


def _box(value: Any) -> tuple[float, float, float, float]:
    box = _numbers(value)
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise BadInput(f"box {_shown(value)}: expected [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return box[0], box[1], box[2], box[3]


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise BadInput(f"points {_shown(value)}: expected a list of [x, y] or [x, y, 0 or 1]")
    return value


def _point_from_json(value: Any) -> Point:
    foreground: Any = True
    if isinstance(value, Mapping):
        foreground = value.get("foreground", True)
        numbers = _numbers([value.get("x_px"), value.get("y_px")])
    elif isinstance(value, (list, tuple)) and len(value) == 3:
        foreground = bool(value[2]) if value[2] in (0, 1) else None
        numbers = _numbers(value[:2])
    else:
        numbers = _numbers(value)
    if len(numbers) != 2 or not isinstance(foreground, bool):
        raise BadInput(
            f"point {_shown(value)}: expected [x, y] and perhaps 1 (object) or 0 (background)"
        )
    return Point(numbers[0], numbers[1], foreground)


def _numbers(value: Any) -> tuple[float, ...]:
    """A list of finite numbers, () for anything else."""
    if not isinstance(value, (list, tuple)):
        return ()
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
        return ()
    if any(not abs(v) <= MAX_COORDINATE_PX for v in value):
        return ()
    return tuple(float(v) for v in value)


def _shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
