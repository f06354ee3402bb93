"""Settings of backends: from a profile's plain values to the backend's own type, and to JSON."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scene.errors import BadInput
from stages.backends import AnyStage, find_backend

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class NoSettings:
    """Nothing to set."""


NO_SETTINGS = NoSettings()


def make_settings(stage: AnyStage, name: str, values: Mapping[str, Any]) -> DataclassInstance:
    """The backend's frozen settings; unknown names, wrong types and values raise BadInput.

    A settings class checks its ranges itself, with messages that begin with the setting's name.
    """
    settings_type = find_backend(stage, name).settings
    hints = typing.get_type_hints(settings_type)
    for key, value in values.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(hints) or "none"
            raise BadInput(
                f"{stage.name} backend {name} has no setting {key!r} (it has: {known}){hint}"
            )
        if not _fits(_convert(value, hints[key]), hints[key]):
            raise BadInput(f"{stage.name}.{key}: expected {_type_name(hints[key])}, got {value!r}")
    try:
        return settings_type(**{k: _convert(v, hints[k]) for k, v in values.items()})
    except BadInput as error:
        raise BadInput(f"{stage.name}.{error}") from None


def local(default: Any) -> Any:
    """A setting's default that says where or how to work and never what comes out.

    Such settings (a folder of weights, how memory is used) stay out of keys and manifests.
    """
    return dataclasses.field(default=default, metadata={"local": True})


def settings_to_json(settings: DataclassInstance) -> dict[str, Any]:
    """All settings that decide an output, defaults included: they go into the key."""
    values, local_names = dataclasses.asdict(settings), local_settings(settings)
    return {name: value for name, value in values.items() if name not in local_names}


def local_settings(settings: DataclassInstance) -> frozenset[str]:
    """The names of the settings that are `local` to a machine."""
    return frozenset(f.name for f in dataclasses.fields(settings) if f.metadata.get("local"))


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
