"""The plan with the simplest driver: one step after the other in this process, no Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from flows.calls import Outcome, StageCall
from flows.compute import model_pool, produce
from flows.plan import carry_out, plan_scene
from flows.request import Request
from scene.store import Store
from scene.types import Scene
from stages.devices import ModelPool


def reconstruct_inline(
    request: Request, store: Store, pool: ModelPool, refresh: Sequence[str] = ()
) -> tuple[Scene, list[Outcome]]:
    """The scene of a request, and what came of every step; an error of a step is raised."""

    def run(calls: list[StageCall]) -> list[Outcome]:
        again = [bool({c.stage, f"{c.stage}:{c.subject}"} & set(refresh)) for c in calls]
        return [produce(c, store, pool, a) for c, a in zip(calls, again, strict=True)]

    return carry_out(plan_scene(request, store), run)


def run_inline(
    request: Request, store: Store, device: str, refresh: list[str]
) -> tuple[Scene, list[Outcome]]:
    """What stands in for `flows.reconstruct.run_flow`, with the models of the whole process."""
    return reconstruct_inline(request, store, model_pool(device), refresh)
