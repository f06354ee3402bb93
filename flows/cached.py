"""Answers a request from the store alone: no Prefect, no models, no computation."""

from __future__ import annotations

from dataclasses import dataclass

from flows.pipeline import Progress, reconstruct_scene
from flows.request import Request
from flows.steps import Outcome, StageCall
from scene.store import Store
from scene.types import Scene


class NotCached(LookupError):
    """A call's result is not in the store; `call` is the first one that was missed."""

    def __init__(self, call: StageCall) -> None:
        super().__init__(f"{call.stage} {call.subject}")
        self.call = call


@dataclass(frozen=True)
class _Known:
    """A call that was answered by the store."""

    known: Outcome

    def outcome(self) -> Outcome:
        """What the store had."""
        return self.known


def cached_scene(request: Request, store: Store) -> tuple[Scene, list[Outcome]]:
    """The scene of a request whose every step is in the store, whole; else raises NotCached."""

    def look_up(call: StageCall) -> _Known:
        manifest = store.lookup(call.key)
        if manifest is None:
            raise NotCached(call)
        return _Known(Outcome(call, manifest))

    progress = Progress(look_up)
    return reconstruct_scene(request, store, progress), progress.outcomes
