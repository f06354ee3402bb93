"""The Prefect flow: one photo in, one object-separated scene out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.pipeline import Progress, StageFailed, reconstruct_scene
from flows.request import Request, request_from_json, request_to_json
from flows.steps import Outcome, StageCall
from flows.tasks import Submitted, submit
from scene.store import Store
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

    def start(call: StageCall) -> Submitted:
        again = call.stage in forced or f"{call.stage}:{call.subject}" in forced
        return submit(call, store, device, again)

    progress = Progress(start)
    scene = reconstruct_scene(request_from_json(request), Store(Path(store)), progress)
    return scene, progress.outcomes


def run_flow(
    request: Request, store: Store, device: str, refresh: list[str]
) -> tuple[Scene, list[Outcome]]:
    """Call the flow from Python, against the Prefect API in force: inside `prefect_api`."""
    return reconstruct(request_to_json(request), str(store.root), device, refresh)


__all__ = ["StageFailed", "reconstruct", "run_flow"]
