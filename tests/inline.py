"""The pipeline with the simplest runner: one step after the other in this process, no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.compute import produce
from flows.pipeline import Progress, reconstruct_scene
from flows.request import Request
from flows.steps import Outcome, StageCall
from flows.tasks import model_pool
from scene.store import Store
from scene.types import Scene
from stages.devices import ModelPool


@dataclass(frozen=True)
class Inline:
    """A step that was carried out here and now."""

    done: Outcome

    def outcome(self) -> Outcome:
        return self.done


def reconstruct_inline(
    request: Request, store: Store, pool: ModelPool, refresh: Sequence[str] = ()
) -> tuple[Scene, list[Outcome]]:
    """The scene of a request, and what came of every step; an error of a step is raised."""

    def start(call: StageCall) -> Inline:
        again = bool({call.stage, f"{call.stage}:{call.subject}"} & set(refresh))
        return Inline(produce(call, store, pool, again))

    progress = Progress(start)
    return reconstruct_scene(request, store, progress), progress.outcomes


def run_inline(
    request: Request, store: Store, device: str, refresh: list[str]
) -> tuple[Scene, list[Outcome]]:
    """What stands in for `flows.reconstruct.run_flow`, with the models of the whole process."""
    return reconstruct_inline(request, store, model_pool(device), refresh)
