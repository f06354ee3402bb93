"""Profiles: which backend and settings each stage uses, read from a YAML file."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from flows.plan import PER_OBJECT_STAGES, STAGES
from flows.request import Profile, StageChoice
from scene.errors import BadInput
from stages.backends import NONE

LOWERED, STORE = "on_out_of_memory", "store"
MAX_PROFILE_BYTES, MAX_PROFILE_DEPTH = 1_000_000, 8


def profile_names() -> list[str]:
    """The profiles that ship with photoscene."""
    return sorted(p.name[:-5] for p in files("configs").iterdir() if p.name.endswith(".yaml"))


def load_profile(name_or_path: str) -> Profile:
    """A shipped profile by name, or a YAML file by path. BadInput names what is wrong with it."""
    return _read(name_or_path)[0]


def store_of(name_or_path: str) -> str:
    """The store that a profile names, "" for none: where results lie changes none of them."""
    return _read(name_or_path)[1]


def _read(name_or_path: str) -> tuple[Profile, str]:
    text = _profile_text(name_or_path)
    try:
        return _parse(Path(name_or_path).stem, _plain_yaml(text))
    except (yaml.YAMLError, BadInput) as error:
        why = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise BadInput(f"profile {name_or_path}: {why}") from None


def _profile_text(name_or_path: str) -> str:
    shipped = profile_names()
    if name_or_path in shipped:
        return (files("configs") / f"{name_or_path}.yaml").read_text("utf-8")
    expected = f"expected a .yaml file or one of {', '.join(shipped)}"
    if not name_or_path.endswith((".yaml", ".yml")):
        raise BadInput(f"unknown profile {name_or_path!r}: {expected}")
    path = Path(name_or_path)
    try:
        if path.exists() and not path.is_file():
            raise BadInput(f"profile {path} is not a regular file: {expected}")
        if path.stat().st_size > MAX_PROFILE_BYTES:
            raise BadInput(f"profile {path} is too large for one: {expected}")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise BadInput(f"profile {path}: {error.strerror}; {expected}") from None
    except UnicodeDecodeError:
        raise BadInput(f"profile {path} is not UTF-8 text: {expected}") from None


def with_setting(profile: Profile, assignment: str) -> Profile:
    """The profile after `stage.name=value` (a `--set`); `stage.backend=NAME` changes the backend.

    The value is read as YAML, so numbers, true/false, null and [lists] mean what they say.
    """
    path, equals, text = assignment.partition("=")
    stage, dot, name = path.strip().partition(".")
    if not (equals and dot and name):
        raise BadInput(f"--set {assignment!r}: expected STAGE.NAME=VALUE, as in generate.grid=96")
    choice = profile.stages.get(known_stage(stage))
    try:
        value = _plain_yaml(text)
    except yaml.YAMLError:
        raise BadInput(f"--set {assignment!r}: {text!r} is not a YAML value") from None
    except BadInput as error:
        raise BadInput(f"--set {assignment!r}: {error}") from None
    if name == "backend":
        return with_backend(profile, stage, str(value))
    if choice is None:
        remedy = f"--set {stage}.backend=NAME first"
        raise BadInput(f"--set {assignment!r}: {stage} is left out: {remedy}")
    if name == LOWERED:
        lowered = _lowered(stage, value)
        return _with_choice(profile, stage, replace(choice, on_out_of_memory=lowered))
    return _with_choice(profile, stage, replace(choice, settings={**choice.settings, name: value}))


def with_backend(profile: Profile, stage: str, backend: str) -> Profile:
    """The profile with another backend for a stage; the old one's settings do not carry over.

    `none` leaves an optional stage out.
    """
    if backend == NONE and STAGES[stage].optional:
        others = {name: choice for name, choice in profile.stages.items() if name != stage}
        return replace(profile, stages=others)
    if stage in profile.stages and profile.stages[stage].backend == backend:
        return profile
    return _with_choice(profile, stage, StageChoice(backend))


def known_stage(name: str) -> str:
    """The stage's name, or BadInput with the closest ones."""
    if name not in STAGES:
        close = difflib.get_close_matches(name, STAGES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise BadInput(f"unknown stage {name!r}: expected one of {', '.join(STAGES)}{hint}")
    return name


def _with_choice(profile: Profile, stage: str, choice: StageChoice) -> Profile:
    return replace(profile, stages={**profile.stages, stage: choice})


@lru_cache(64)  # of a batch, most are those of other scenes; nobody changes a value
def _plain_yaml(text: str) -> Any:
    """YAML without aliases (which can blow up a hundred bytes), and no deeper than a profile is."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise BadInput("aliases (*name) are not allowed: write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_PROFILE_DEPTH:
            raise BadInput(f"more than {MAX_PROFILE_DEPTH} levels deep: a profile has two")
    try:
        value = yaml.safe_load(text)
    except ValueError as error:  # what looks like a date or a number and is none
        raise BadInput(str(error)) from None
    _check_integers(value)
    return value


def _check_integers(value: Any) -> None:
    """BadInput for a number that no setting can hold."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadInput("a number is too large")
    if isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            _check_integers(part)


def _lowered(stage: str, value: Any) -> dict[str, Any]:
    """Settings for another try after running out of memory; steps of one object have that."""
    if not isinstance(value, dict):
        raise BadInput(f"{stage}.{LOWERED}: expected settings, as in {{resolution: 1024}}")
    if value and stage not in PER_OBJECT_STAGES:
        raise BadInput(f"{stage}.{LOWERED}: only {', '.join(PER_OBJECT_STAGES)} have it")
    return {str(k): v for k, v in value.items()}


def _parse(name: str, value: Any) -> tuple[Profile, str]:
    """The profile, and the store that it names."""
    if not isinstance(value, dict):
        raise BadInput("expected a mapping of stages")
    stages: dict[str, StageChoice] = {}
    store = value.get(STORE, "")
    if not isinstance(store, str):
        raise BadInput(f"{STORE}: expected a folder, or a URL as s3://bucket/path")
    for stage, entry in value.items():
        if stage == STORE:
            continue
        known_stage(str(stage))
        if not isinstance(entry, dict) or not isinstance(entry.get("backend"), str):
            raise BadInput(f"{stage}: expected a mapping with a backend")
        settings = {str(k): v for k, v in entry.items() if k not in ("backend", LOWERED)}
        lowered = _lowered(stage, entry.get(LOWERED, {}))
        if entry["backend"] != NONE or not STAGES[stage].optional:
            stages[stage] = StageChoice(entry["backend"], settings, lowered)
        elif settings or lowered:
            raise BadInput(f"{stage}: backend none has no settings")
    missing = [name for name, stage in STAGES.items() if not (stage.optional or name in stages)]
    if missing:
        raise BadInput(f"no entry for {', '.join(missing)}")
    return Profile(name, stages), store
