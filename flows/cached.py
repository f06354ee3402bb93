"""Answers a request from the store alone: no Prefect, no models, no computation."""

from __future__ import annotations

from flows.calls import Outcome, StageCall
from flows.plan import carry_out, plan_scene
from flows.request import Request
from scene.store import Store
from scene.types import Scene


class NotCached(LookupError):
    """A call's result is not in the store; `call` is the first one that was missed."""

    def __init__(self, call: StageCall) -> None:
        super().__init__(f"{call.stage} {call.subject}")
        self.call = call


def cached_scene(request: Request, store: Store) -> tuple[Scene, list[Outcome]]:
    """The scene of a request whose every step is in the store, whole; else raises NotCached."""

    def from_store(calls: list[StageCall]) -> list[Outcome]:
        known = store.lookup_all(call.key for call in calls)
        for call in calls:
            if known[call.key] is None:
                raise NotCached(call)
        return [Outcome(call, known[call.key]) for call in calls]

    return carry_out(plan_scene(request, store), from_store)
