"""The Prefect task that carries out one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture

from flows import failures
from flows.calls import Outcome, StageCall
from flows.compute import model_pool, produce
from scene.store import open_store

RETRIES = len(failures.RETRY_DELAYS_S)


def can_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether Prefect tries a failed task again."""
    return failures.can_pass(state.result(raise_on_failure=False))


# The store is the only truth: Prefect's cache would not notice a damaged or deleted artifact.
@task(cache_policy=NO_CACHE, persist_result=False, retries=RETRIES,
      retry_delay_seconds=[*failures.RETRY_DELAYS_S], retry_condition_fn=can_pass)  # fmt: skip
def run_step(call: StageCall, store_root: str, device: str, refresh: bool) -> Outcome:
    """Look one call up, or compute and publish it."""
    return produce(call, open_store(store_root), model_pool(device), refresh)


@dataclass(frozen=True)
class Submitted:
    """A call handed to Prefect."""

    call: StageCall
    future: PrefectFuture[Outcome]

    def outcome(self) -> Outcome:
        """Wait; a failed call comes back as one, with its reason."""
        result: Outcome | BaseException = self.future.result(raise_on_failure=False)
        return result if isinstance(result, Outcome) else failures.failed(self.call, result)


def submit(call: StageCall, store_root: str, device: str, refresh: bool) -> Submitted:
    """Start a call as a task run that is named by its stage and subject."""
    named = run_step.with_options(name=call.stage, task_run_name=f"{call.stage} {call.subject}")
    return Submitted(call, named.submit(call, store_root, device, refresh))
