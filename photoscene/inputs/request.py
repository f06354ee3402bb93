"""Turns what a person names on the command line into a request: files become artifacts."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from flows.plan import STAGES
from flows.profile import load_profile, with_backend, with_setting
from flows.request import MaskFile, Profile, Request, prompt_from_json
from photoscene.inputs.object_masks import MAX_OBJECTS, annotation_masks, label_map_masks
from scene.errors import BadInput
from scene.manifests import SUFFIX
from scene.store import Store
from scene.types import Artifact, ObjectPrompt, Point

MAX_FILE_BYTES = 2**31  # larger than any photo or depth map that could be worked on
MAX_JSON_BYTES = 10_000_000
ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Arguments:
    """The arguments of `run` as they were typed; objects: entries as in a prompt file."""

    photo: Path
    texts: Sequence[str] = ()
    points: Sequence[str] = ()
    boxes: Sequence[str] = ()
    masks: Sequence[Path] = ()
    label_map: Path | None = None
    annotations: Path | None = None
    prompts: Path | None = None
    objects: Sequence[Any] = ()
    profile: str = "lite"
    settings: Sequence[str] = ()
    fov_x_deg: float | None = None
    camera: Path | None = None
    point_map: Path | None = None
    seed: int = 0
    until: str = "compose"
    licence: str = ""


MAX_LICENCE_LENGTH = 300
PROFILE_SUFFIXES = (".yaml", ".yml")
PATHS = ("photo", "label_map", "annotations", "prompts", "camera", "point_map")


def arguments_to_json(arguments: Arguments) -> dict[str, Any]:
    """Plain JSON; `arguments_from_json` reads it back."""
    return {
        name: [str(v) if isinstance(v, Path) else v for v in value]
        if isinstance(value, (list, tuple))
        else str(value) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
    }  # fmt: skip


def arguments_from_json(value: Mapping[str, Any]) -> Arguments:
    """The inverse of `arguments_to_json`."""
    given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in value.items()}
    given |= {name: Path(given[name]) for name in PATHS if given[name] is not None}
    return Arguments(**{**given, "masks": tuple(map(Path, given["masks"]))})


def absolute(arguments: Arguments) -> Arguments:
    """The same arguments from wherever they are read: all files by their absolute paths."""
    given = {name: getattr(arguments, name) for name in PATHS}
    files: dict[str, Any] = {n: Path(os.path.abspath(p)) for n, p in given.items() if p is not None}
    if arguments.profile.endswith(PROFILE_SUFFIXES):
        files["profile"] = os.path.abspath(arguments.profile)
    masks = tuple(Path(os.path.abspath(path)) for path in arguments.masks)
    return replace(arguments, **files, masks=masks)


def build_request(arguments: Arguments, store: Store) -> Request:
    """Read and check everything that was named; BadInput says which argument is wrong and why."""
    profile = load_profile(arguments.profile)
    given = _objects_given(arguments)
    if given:
        profile = with_backend(profile, "segment", "masks")
    if arguments.point_map is not None:
        profile = with_backend(profile, "map_points", "file")
    for assignment in arguments.settings:
        profile = with_setting(profile, assignment)
    check_backends(profile, arguments.until)
    prompts = _prompts(arguments)
    if prompts and given:
        raise BadInput(
            f"{given} gives the objects already: leave out --text, --point, --box, --prompts"
        )
    check_words(profile, prompts)
    check_seed(arguments.seed)
    point_map = arguments.point_map
    masks, notes = _masks(arguments, store)
    return Request(
        photo=import_file(store, arguments.photo, "photo"),
        profile=profile,
        masks=tuple(masks),
        notes=tuple(notes),
        prompts=prompts,
        point_map=None if point_map is None else import_file(store, point_map, "--pointmap"),
        camera=_camera(arguments),
        seed=arguments.seed,
        until=arguments.until,
        licence=check_licence(arguments.licence),
    )


def check_licence(licence: str) -> str:
    """The licence of a photo, in words; BadInput where they cannot be."""
    words = " ".join(licence.split())
    if len(words) > MAX_LICENCE_LENGTH or not words.isprintable():
        raise BadInput(
            f"--licence: expected at most {MAX_LICENCE_LENGTH} printable characters, as CC-BY-4.0 "
            "or who allowed what"
        )
    return words


def input_files(arguments: Arguments) -> dict[str, Path]:
    """Every file that was named on the command line, by the option that named it."""
    options = {"photo": "photo", "masks": "--mask", "point_map": "--pointmap"}
    files = {}
    for field in fields(arguments):
        value = getattr(arguments, field.name)
        option = options.get(field.name, f"--{field.name.replace('_', '-')}")
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(each, Path):
                files[f"{option} {each}"] = each
    if arguments.profile.endswith(PROFILE_SUFFIXES):
        files[f"--profile {arguments.profile}"] = Path(arguments.profile)
    return files


def _objects_given(arguments: Arguments) -> str:
    """The option that gives the objects' masks, "" for none; BadInput where two do."""
    given = {"--mask": arguments.masks, "--label-map": arguments.label_map,
             "--annotations": arguments.annotations}  # fmt: skip
    options = [option for option, value in given.items() if value]
    if len(options) > 1:
        raise BadInput(f"{' and '.join(options)} both give the objects: leave one of them out")
    return "".join(options)


def _masks(arguments: Arguments, store: Store) -> tuple[list[MaskFile], list[str]]:
    """A mask file per object, and what to say of them."""
    path = arguments.label_map
    if path is not None:
        return label_map_masks(read_file(path, "--label-map"), path, store)
    path = arguments.annotations
    if path is not None:
        name = _decoded(arguments.photo.name)
        return annotation_masks(read_file(path, "--annotations"), path, name, store)
    files = arguments.masks
    return [MaskFile(import_file(store, m, "--mask"), _decoded(m.stem)) for m in files], []


def check_backends(profile: Profile, until: str = list(STAGES)[-1]) -> None:
    """Every stage's backend exists and takes its settings; those that will run have their weights.

    Raises BadInput for what is wrong, and one MissingWeights for all that is missing.
    """
    from stages.backends import find_backend
    from stages.settings import make_settings
    from stages.weights import MissingWeights

    missing: list[MissingWeights] = []
    order = list(STAGES)
    for name, choice in profile.stages.items():
        stage = STAGES[name]
        settings = make_settings(stage, choice.backend, choice.settings)
        if order.index(name) > order.index(until):
            continue
        try:
            find_backend(stage, choice.backend).weights_digest(settings)
        except MissingWeights as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        raise _all_missing([error.model for error in missing])


def _all_missing(names: Sequence[str]) -> Exception:
    """What to do where several models are not here."""
    from stages.model_table import known_model
    from stages.weights import MissingWeights, models_folder

    listed = ", ".join(f"{n} ({known_model(n).gigabytes:g} GB)" for n in names)
    return MissingWeights(
        f"the weights {listed} are not here: `photoscene models pull {' '.join(names)}`, or copy "
        f"each to {models_folder()}/OWNER/NAME, or --set STAGE.weights=DIR; `photoscene models "
        "list` tells sizes, licences and which are gated",
        names[0],
    )


def check_words(profile: Profile, prompts: tuple[ObjectPrompt, ...]) -> None:
    """A prompt of words alone needs a segment backend that knows them; BadInput otherwise."""
    from stages import segment
    from stages.backends import find_backend

    name = profile.stages[segment.STAGE.name].backend
    backend = find_backend(segment.STAGE, name)
    for prompt in prompts:
        if not prompt.text or prompt.box is not None or any(p.foreground for p in prompt.points):
            continue
        if not backend.knows_words:
            raise BadInput(
                f"--text {prompt.text!r}: segment backend {name} does not know words; "
                "give --point or --box, or choose another with --set segment.backend=NAME"
            )
        if reason := backend.unknown_words(prompt.text):
            raise BadInput(f"--text {prompt.text!r}: {reason}")


def check_field_of_view(fov_x_deg: float) -> None:
    """BadInput for a field of view that no photo has."""
    if not 1 <= fov_x_deg <= 170:
        raise BadInput(f"--fov {fov_x_deg:g}: expected 1 to 170 degrees")


def check_seed(seed: int) -> None:
    """A seed is a whole number of 64 bits; BadInput otherwise."""
    if not -(2**63) <= seed < 2**63:
        raise BadInput(f"--seed {seed}: expected a number between -2^63 and 2^63")


def import_file(store: Store, path: Path, role: str) -> Artifact:
    """Take a user's file into the store as it is; BadInput when it cannot be read."""
    suffix = path.suffix.lower()
    kept = suffix if SUFFIX.fullmatch(suffix) else ""  # a name may end in anything
    return store.save_bytes(read_file(path, role), "file", kept)


def read_file(path: Path, role: str) -> bytes:
    """The bytes of a regular file; BadInput names the role and the path otherwise."""
    try:
        if path.is_dir():
            raise BadInput(f"{role} {path} is a folder: name a file in it")
        if path.exists() and not path.is_file():
            raise BadInput(f"{role} {path} is not a regular file: copy its content into one")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(
                f"{role} {path} has {path.stat().st_size} bytes: "
                f"too large, at most {MAX_FILE_BYTES} are read"
            )
        return path.read_bytes()
    except FileNotFoundError:
        if ADDRESS.match(str(path)):
            raise BadInput(f"{role} {_address(path)} is not on this machine: download it") from None
        if path.is_symlink():
            missing = f"is a link to {os.readlink(path)}, which does not exist"
        else:
            missing = "does not exist"
        raise BadInput(f"{role} {path} {missing}: check the name") from None
    except OSError as error:
        remedy = "make it readable" if isinstance(error, PermissionError) else "check the name"
        raise BadInput(f"{role} {path} cannot be read: {error.strerror}; {remedy}") from None


def check_local(path: Path, option: str) -> None:
    """Raise BadInput for an address where a path of this machine is wanted."""
    if ADDRESS.match(str(path)):
        raise BadInput(
            f"{option} {_address(path)}: results are written to local folders only; mount that "
            "place, or copy the folder there afterwards"
        )


def _address(path: Path) -> str:
    """An address as it was typed: paths keep one slash of two."""
    return str(path).replace(":/", "://", 1)


def _decoded(words: str) -> str:
    """Words from the command line or a file's name; bytes that are no UTF-8 are question marks."""
    return words.encode("utf-8", "replace").decode()


def read_boxes(texts: Sequence[str]) -> list[tuple[float, float, float, float]]:
    """Boxes x0, y0, x1, y1 as they were typed; BadInput names the one that is none."""
    boxes = []
    for text in texts:
        x0, y0, x1, y1 = _numbers(text, 4, "--box", "X0,Y0,X1,Y1")
        if x0 >= x1 or y0 >= y1:
            raise BadInput(f"--box {text}: expected X0 < X1 and Y0 < Y1 in pixels")
        boxes.append((x0, y0, x1, y1))
    return boxes


def _prompts(arguments: Arguments) -> tuple[ObjectPrompt, ...]:
    """One prompt per word and box; a point joins the smallest box around it, else stands alone."""
    words = [_decoded(text) for text in arguments.texts]
    if not all(text.strip() for text in words):
        raise BadInput("--text is empty: name the object, as in --text cup")
    prompts = [ObjectPrompt(label=text, text=text) for text in words]
    boxes = read_boxes(arguments.boxes)
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
        ObjectPrompt(box=b, points=tuple(points)) for b, points in zip(boxes, clicks, strict=True)
    ]
    if arguments.prompts is not None:
        prompts += _prompt_file(arguments.prompts)
    if arguments.objects:
        prompts += _prompt_entries(arguments.objects, "objects")
    return tuple(prompts)


def _prompt_file(path: Path) -> list[ObjectPrompt]:
    """{"objects": [{"label", "text", "box": [x0, y0, x1, y1], "points": [[x, y, 0 or 1]]}]}."""
    value = _json(path, "--prompts")
    if not isinstance(value, dict) or not isinstance(value.get("objects"), list):
        raise BadInput(f'--prompts {path}: expected {{"objects": [...]}}')
    return _prompt_entries(value["objects"], f"--prompts {path}")


def _prompt_entries(entries: Sequence[Any], role: str) -> list[ObjectPrompt]:
    if not 1 <= len(entries) <= MAX_OBJECTS:
        count = f"has {len(entries)} objects, at most {MAX_OBJECTS} are taken: split it"
        remedy = "add one, or leave --prompts out"
        raise BadInput(f"{role} {count if entries else f'has no object: {remedy}'}")
    prompts = []
    for index, entry in enumerate(entries):
        try:
            prompts.append(prompt_from_json(entry))
        except BadInput as error:
            raise BadInput(f"{role}, object {index + 1}: {error}") from None
    return prompts


def _camera(arguments: Arguments) -> dict[str, Any]:
    if arguments.camera is not None and arguments.fov_x_deg is not None:
        raise BadInput("--camera and --fov say the same thing: give one of them")
    if arguments.fov_x_deg is not None:
        check_field_of_view(arguments.fov_x_deg)
        return {"fov_x_deg": arguments.fov_x_deg}
    if arguments.camera is None:
        return {}
    value = _json(arguments.camera, "--camera")
    try:
        K = [[float(v) for v in row] for row in value["K"]]
        camera = {"width": int(value["width"]), "height": int(value["height"]), "K": K}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadInput(
            f'--camera {arguments.camera}: expected {{"width": .., "height": .., "K": [3 x 3]}}'
        ) from None
    if camera["width"] < 1 or camera["height"] < 1:
        raise BadInput(f"--camera {arguments.camera}: width and height must be positive")
    from scene.cameras import camera_from_matrix

    try:
        camera_from_matrix(camera["width"], camera["height"], K)  # type: ignore[arg-type]
    except BadInput as error:
        raise BadInput(f"--camera {arguments.camera}: {error}") from None
    return camera


def _json(path: Path, role: str) -> Any:
    data = read_file(path, role)
    if len(data) > MAX_JSON_BYTES:
        raise BadInput(
            f"{role} {path} has {len(data)} bytes: too large, at most {MAX_JSON_BYTES} are read"
        )
    try:
        return json.loads(data)
    except RecursionError:
        raise BadInput(f"{role} {path} is nested too deeply: write it anew") from None
    except ValueError as error:
        raise BadInput(f"{role} {path} is not JSON ({error}): check it with an editor") from None


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise BadInput(f"{option} {text!r}: expected {form} in pixels")
    return values


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
