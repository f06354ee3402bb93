"""Backends by the names of a stage and a backend, as profiles name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.plan import STAGES
from stages.backends import find_backend
from stages.devices import ModelPool
from stages.settings import make_settings


def settings_of(stage: str, name: str, values: Mapping[str, Any]) -> Any:
    """The settings of a stage's backend."""
    return make_settings(STAGES[stage], name, values)


def loaded(stage: str, name: str, values: Mapping[str, Any], device: str = "cpu") -> Any:
    """A stage's backend, loaded without a pool."""
    return find_backend(STAGES[stage], name).load(settings_of(stage, name, values), device)


@contextmanager
def borrowed(pool: ModelPool, stage: str, name: str, values: Mapping[str, Any]) -> Iterator[Any]:
    """A stage's backend, lent by a pool."""
    with pool.borrow(STAGES[stage], name, settings_of(stage, name, values)) as model:
        yield model
