"""How much device memory do a backend's settings need, as the table of models states it?"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.model_table import ModelEntry


def needed_gb(entry: ModelEntry, settings: Any) -> float | None:
    """GB on the device for a model run with these settings; None where the table has no figure.

    A row's memory_gb has ways of running it, as "1024, one_at_a_time" or "bfloat16, offload model".
    Each part is the value of a setting, a setting's name and value, or a remark. Of the ways that
    do not contradict the settings the one that agrees in most parts counts; without one, the most.
    """
    if not entry.memory_gb:
        return None
    agreeing = {how: _agreement(how, settings) for how in entry.memory_gb}
    possible = {how: parts for how, parts in agreeing.items() if parts is not None}
    if not possible:
        return max(entry.memory_gb.values())
    return entry.memory_gb[max(possible, key=lambda how: possible[how])]


@dataclass(frozen=True)
class Need:
    """GB on the device of a stage's models: while they work, and while another stage's do."""

    working: float
    resting: float


def profile_gb(needs: Mapping[str, Need]) -> tuple[float, tuple[str, ...]]:
    """GB at once at the worst moment, and the stages they are for, the working one first.

    One model works at a time on a device; those that are kept there rest beside it.
    """
    at_once = {
        stage: need.working + sum(n.resting for other, n in needs.items() if other != stage)
        for stage, need in needs.items()
    }
    if not at_once:
        return 0.0, ()
    worst = max(at_once, key=lambda stage: at_once[stage])
    beside = [stage for stage, need in needs.items() if stage != worst and need.resting]
    return round(at_once[worst], 1), (worst, *beside)


def _agreement(how: str, settings: Any) -> int | None:
    """How many parts of a way of running agree with the settings; None if one contradicts them."""
    agreed = 0
    for part in how.split(","):
        agrees = _agrees(part.split(), settings)
        if agrees is False:
            return None
        agreed += agrees is True
    return agreed


def _agrees(words: list[str], settings: Any) -> bool | None:
    """Whether a part is true of the settings; None if it is about none of them."""
    hints = typing.get_type_hints(type(settings))
    values = {f.name: str(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if len(words) == 2 and words[0] in values:
        return values[words[0]] == words[1]
    if len(words) != 1:
        return None
    choosing = [name for name, hint in hints.items() if words[0] in map(str, typing.get_args(hint))]
    return any(values[name] == words[0] for name in choosing) if choosing else None
