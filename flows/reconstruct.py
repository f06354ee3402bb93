"""The Prefect flow: one photo in, one object-separated scene out."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.calls import Outcome, StageCall
from flows.plan import StageFailed, carry_out, plan_scene
from flows.request import Request, request_from_json, request_to_json
from flows.tasks import submit
from scene.cores import usable_cores
from scene.store import Store, open_store
from scene.types import Scene

THREADS: Any = ThreadPoolTaskRunner(os.cpu_count() or 2)


@flow(name="reconstruct", persist_result=False, task_runner=THREADS)
def reconstruct(
    request: dict[str, Any], store: str, device: str = "cpu", refresh: list[str] | None = None
) -> tuple[Scene, list[Outcome]]:
    """Reconstruct one photo.

    request: `flows.request.request_to_json`; store: the store's root, shared by all nodes; refresh:
    steps to compute even if stored, as "generate" or "generate:OBJECT_ID". Raises StageFailed when
    a step of the whole scene fails; a failed object is kept in the scene with its reason.
    """
    forced = set(refresh or ())

    def run(calls: list[StageCall]) -> list[Outcome]:
        """All of them side by side; waits for the last."""
        submitted = [
            submit(c, store, device, bool({c.stage, f"{c.stage}:{c.subject}"} & forced))
            for c in calls
        ]
        return [call.outcome() for call in submitted]

    return carry_out(plan_scene(request_from_json(request), open_store(store)), run)


def run_flow(
    request: Request, store: Store, device: str, refresh: list[str]
) -> tuple[Scene, list[Outcome]]:
    """Call the flow from Python, against the Prefect API in force: inside `prefect_api`."""
    on_cores: Any = ThreadPoolTaskRunner(usable_cores())
    flow_here = reconstruct.with_options(task_runner=on_cores)
    return flow_here(request_to_json(request), store.address, device, refresh)


__all__ = ["StageFailed", "reconstruct", "run_flow"]
