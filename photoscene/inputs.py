"""Turns what a person names on the command line into a request: files become artifacts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.request import MaskFile, Request, prompt_from_json
from scene.profile import Profile, load_profile, with_backend, with_setting
from scene.store import Store
from scene.types import Artifact, ObjectPrompt, Point

MAX_FILE_BYTES = 2**31  # larger than any photo or depth map that could be worked on


@dataclass(frozen=True)
class Arguments:
    """The arguments of `run` as they were typed."""

    photo: Path
    texts: Sequence[str] = ()
    points: Sequence[str] = ()
    boxes: Sequence[str] = ()
    masks: Sequence[Path] = ()
    prompts: Path | None = None
    profile: str = "lite"
    settings: Sequence[str] = ()
    fov_x_deg: float | None = None
    camera: Path | None = None
    point_map: Path | None = None
    seed: int = 0
    until: str = "compose"


def build_request(arguments: Arguments, store: Store) -> Request:
    """Read and check everything that was named; ValueError says which argument is wrong and why."""
    profile = load_profile(arguments.profile)
    if arguments.masks:
        profile = with_backend(profile, "segment", "masks")
    if arguments.point_map is not None:
        profile = with_backend(profile, "map_points", "file")
    for assignment in arguments.settings:
        profile = with_setting(profile, assignment)
    check_backends(profile)
    prompts = _prompts(arguments)
    if prompts and arguments.masks:
        raise ValueError(
            "--mask gives the objects already: leave out --text, --point, --box, --prompts"
        )
    check_words(profile, prompts)
    point_map = arguments.point_map
    return Request(
        photo=import_file(store, arguments.photo, "photo"),
        profile=profile,
        masks=tuple(MaskFile(import_file(store, m, "--mask"), m.stem) for m in arguments.masks),
        prompts=prompts,
        point_map=None if point_map is None else import_file(store, point_map, "--pointmap"),
        camera=_camera(arguments),
        seed=arguments.seed,
        until=arguments.until,
    )


def check_backends(profile: Profile) -> None:
    """Every backend exists and knows its settings; ValueError otherwise."""
    from stages.backends import make_settings

    for stage, choice in profile.stages.items():
        make_settings(stage, choice.backend, choice.settings)


def check_words(profile: Profile, prompts: tuple[ObjectPrompt, ...]) -> None:
    """A prompt of words alone needs a segment backend with KNOWS_WORDS; ValueError otherwise."""
    from stages.backends import find_backend

    name = profile.stages["segment"].backend
    if getattr(find_backend("segment", name), "KNOWS_WORDS", False):
        return
    for prompt in prompts:
        if prompt.text and prompt.box is None and not prompt.points:
            raise ValueError(
                f"--text {prompt.text!r}: segment backend {name} does not know words; "
                "give --point or --box, or choose another with --set segment.backend=NAME"
            )


def import_file(store: Store, path: Path, role: str) -> Artifact:
    """Take a user's file into the store as it is; ValueError when it cannot be read."""
    return store.save_bytes(read_file(path, role), "file", path.suffix.lower())


def read_file(path: Path, role: str) -> bytes:
    """The bytes of a regular file; ValueError names the role and the path otherwise."""
    try:
        if path.is_dir():
            raise ValueError(f"{role} {path} is a folder, expected a file")
        if path.exists() and not path.is_file():
            raise ValueError(f"{role} {path} is not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{role} {path} has {path.stat().st_size} bytes: too large")
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{role} {path} does not exist") from None
    except OSError as error:
        raise ValueError(f"{role} {path} cannot be read: {error.strerror}") from None


def _prompts(arguments: Arguments) -> tuple[ObjectPrompt, ...]:
    """One prompt per word and box; a point joins the smallest box around it, else stands alone."""
    prompts = [ObjectPrompt(label=text, text=text) for text in arguments.texts]
    boxes = [_numbers(text, 4, "--box", "X0,Y0,X1,Y1") for text in arguments.boxes]
    for text, (x0, y0, x1, y1) in zip(arguments.boxes, boxes, strict=True):
        if x0 >= x1 or y0 >= y1:
            raise ValueError(f"--box {text}: expected X0 < X1 and Y0 < Y1")
    clicks: list[list[Point]] = [[] for _ in boxes]
    for text in arguments.points:
        x, y = _numbers(text, 2, "--point", "X,Y")
        around = [i for i, b in enumerate(boxes) if b[0] <= x <= b[2] and b[1] <= y <= b[3]]
        if around:
            smallest = min(around, key=lambda i: _area(boxes[i]))
            clicks[smallest].append(Point(x, y))
        else:
            prompts.append(ObjectPrompt(points=(Point(x, y),)))
    prompts += [
        ObjectPrompt(box=(b[0], b[1], b[2], b[3]), points=tuple(points))
        for b, points in zip(boxes, clicks, strict=True)
    ]
    if arguments.prompts is not None:
        prompts += _prompt_file(arguments.prompts)
    return tuple(prompts)


def _prompt_file(path: Path) -> list[ObjectPrompt]:
    """{"objects": [{"label", "text", "box": [x0, y0, x1, y1], "points": [[x, y, 0 or 1]]}]}."""
    value = _json(path, "--prompts")
    try:
        return [prompt_from_json(entry) for entry in value["objects"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"--prompts {path}: {error}") from None


def _camera(arguments: Arguments) -> dict[str, Any]:
    if arguments.camera is not None and arguments.fov_x_deg is not None:
        raise ValueError("--camera and --fov say the same thing: give one of them")
    if arguments.fov_x_deg is not None:
        if not 1 <= arguments.fov_x_deg <= 170:
            raise ValueError(f"--fov {arguments.fov_x_deg:g}: expected 1 to 170 degrees")
        return {"fov_x_deg": arguments.fov_x_deg}
    if arguments.camera is None:
        return {}
    value = _json(arguments.camera, "--camera")
    try:
        K = [[float(v) for v in row] for row in value["K"]]
        camera = {"width": int(value["width"]), "height": int(value["height"]), "K": K}
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f'--camera {arguments.camera}: expected {{"width": .., "height": .., "K": [3 x 3]}}'
        ) from None
    if camera["width"] < 1 or camera["height"] < 1:
        raise ValueError(f"--camera {arguments.camera}: width and height must be positive")
    from scene.cameras import camera_from_matrix

    try:
        camera_from_matrix(camera["width"], camera["height"], K)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"--camera {arguments.camera}: {error}") from None
    return camera


def _json(path: Path, role: str) -> Any:
    try:
        return json.loads(read_file(path, role))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{role} {path} is not JSON: {error}") from None


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise ValueError(f"{option} {text!r}: expected {form} in pixels")
    return values


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
