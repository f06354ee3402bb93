"""Finds a stage's backend by name and turns a profile's settings into the backend's own type."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import math
import pkgutil
import types
import typing
from collections.abc import Mapping
from typing import Any

from scene.errors import BadInput
from stages.model_table import model_table

FULL_EXTRA = "pip install -e '.[full]'"


def backend_names(stage: str) -> list[str]:
    """The backends of a stage: the files of its folder that have a VERSION."""
    package = importlib.import_module(f"stages.{stage}")
    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    return sorted(
        n for n in names if hasattr(importlib.import_module(f"stages.{stage}.{n}"), "VERSION")
    )


def find_backend(stage: str, name: str) -> types.ModuleType:
    """The module stages.STAGE.NAME: VERSION, Settings and load(settings, device)."""
    if name.isidentifier():
        spec = importlib.util.find_spec(f"stages.{stage}.{name}")
        module = importlib.import_module(f"stages.{stage}.{name}") if spec else None
        if module is not None and hasattr(module, "VERSION"):
            return module
    raise BadInput(
        f"unknown backend {name!r} for {stage}: expected one of {', '.join(backend_names(stage))}"
    )


def stage_version(stage: str) -> str:
    """The VERSION of a stage: of its `run` and of what it shares, whatever the backend."""
    return importlib.import_module(f"stages.{stage}").VERSION


def make_settings(stage: str, name: str, values: Mapping[str, Any]) -> Any:
    """The backend's frozen Settings; unknown names, wrong types and values raise BadInput.

    A Settings class checks its ranges itself, with messages that begin with the setting's name.
    """
    settings_type = find_backend(stage, name).Settings
    hints = typing.get_type_hints(settings_type)
    for key, value in values.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(hints) or "none"
            raise BadInput(f"{stage} backend {name} has no setting {key!r} (it has: {known}){hint}")
        if not _fits(_convert(value, hints[key]), hints[key]):
            raise BadInput(f"{stage}.{key}: expected {_type_name(hints[key])}, got {value!r}")
    try:
        return settings_type(**{k: _convert(v, hints[k]) for k, v in values.items()})
    except BadInput as error:
        raise BadInput(f"{stage}.{error}") from None


def local(default: Any) -> Any:
    """A setting's default that says where or how to work and never what comes out.

    Such settings (a folder of weights, how memory is used) stay out of keys and manifests.
    """
    return dataclasses.field(default=default, metadata={"local": True})


def settings_to_json(settings: Any) -> dict[str, Any]:
    """All settings of a backend that decide its output, defaults included: they go into the key."""
    values = dataclasses.asdict(settings)
    return {n: v for n, v in values.items() if n not in local_settings(settings)}


def local_settings(settings: Any) -> dict[str, Any]:
    """The settings that are `local` to a machine."""
    named = [f.name for f in dataclasses.fields(settings) if f.metadata.get("local")]
    return {name: getattr(settings, name) for name in named}


def loading_settings(stage: str, name: str, settings: Any) -> dict[str, Any]:
    """The settings that loading a backend depends on: those that its module's LOADING names.

    Calls that differ in others share one model. Without LOADING it depends on all of them.
    """
    values = dataclasses.asdict(settings)
    names = getattr(find_backend(stage, name), "LOADING", tuple(values))
    return {name: values[name] for name in names}


def weights_of(stage: str, name: str, settings: Any) -> str:
    """The digest of a backend's weights, bundled with it or where its settings say; "" without.

    Raises BadInput where the settings are wrong, MissingWeights where the weights are not here.
    """
    module = find_backend(stage, name)
    if hasattr(module, "weights_sha256"):
        return module.weights_sha256(settings)
    return getattr(module, "WEIGHTS_SHA256", "")


def models_of(stage: str, name: str, settings: Any) -> tuple[str, ...]:
    """The models of the table that a backend reads with these settings; () with its own folder.

    The module's `models(settings)` says which, else the setting `model`, else the constant MODEL.
    """
    module = find_backend(stage, name)
    if weights_setting(settings):
        return ()
    if hasattr(module, "models"):
        return tuple(module.models(settings))
    model = getattr(settings, "model", getattr(module, "MODEL", ""))
    return (model,) if model in model_table() else ()


def weights_setting(settings: Any) -> str:
    """The folder that a backend's setting `weights` names; "" without."""
    value = getattr(settings, "weights", "")
    return value if isinstance(value, str) else ""  # terms of a placement may have that name, too


def libraries_of(stage: str, name: str) -> dict[str, str]:
    """The modules that a backend imports besides photoscene's own, and what installs each.

    The module's LIBRARIES says so: a tuple of names that the extra `full` brings, or a mapping of
    names to commands. Without it there are none.
    """
    libraries = getattr(find_backend(stage, name), "LIBRARIES", ())
    if isinstance(libraries, Mapping):
        return dict(libraries)
    return dict.fromkeys(libraries, FULL_EXTRA)


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if hint is type(None) or hint is None:
        return value is None
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, (list, tuple))
    if hint is float:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _convert(value: Any, hint: Any) -> Any:
    """A YAML value as its setting's type: lists are tuples, and 1e-3 (text in YAML) is a number."""
    if isinstance(value, list):
        return tuple(value)
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
