"""Everything one reconstruction is asked for, as plain values that travel to any node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scene.profile import Profile, StageChoice
from scene.store import artifact_from_json
from scene.types import Artifact, ObjectPrompt, Point


@dataclass(frozen=True)
class MaskFile:
    """A user's mask picture as it came, and the label it stands for."""

    file: Artifact
    label: str


@dataclass(frozen=True)
class Request:
    """One photo and all that was said about it; files are artifacts, so paths do not matter.

    camera: {} (unknown), {"fov_x_deg": ...} or {"width", "height", "K"}; overrides: per object id,
    stage settings that differ from the profile's, and perhaps a "seed".
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


def request_to_json(request: Request) -> dict[str, Any]:
    """Plain JSON; `request_from_json` reads it back."""
    return asdict(request)


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
    )


def prompt_from_json(value: Mapping[str, Any]) -> ObjectPrompt:
    """One object's prompt; points as {"x_px", "y_px", "foreground"} or [x, y] or [x, y, 0 or 1]."""
    unknown = set(value) - {"label", "text", "box", "points"}
    if unknown:
        raise ValueError(
            f"a prompt has label, text, box and points, not {', '.join(sorted(unknown))}"
        )
    box = value.get("box")
    if box is not None and len(box) != 4:
        raise ValueError(f"box {box}: expected x0, y0, x1, y1")
    return ObjectPrompt(
        label=str(value.get("label") or ""),
        text=str(value.get("text") or ""),
        box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        points=tuple(_point_from_json(p) for p in value.get("points") or ()),
    )


def _point_from_json(value: Any) -> Point:
    if isinstance(value, Mapping):
        return Point(
            float(value["x_px"]), float(value["y_px"]), bool(value.get("foreground", True))
        )
    if len(value) not in (2, 3):
        raise ValueError(f"point {value}: expected x, y and perhaps 1 (object) or 0 (background)")
    return Point(float(value[0]), float(value[1]), bool(value[2]) if len(value) == 3 else True)
