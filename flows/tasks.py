"""The Prefect task that carries out one step, and how its failures are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture

from flows.compute import produce
from flows.steps import WHOLE_SCENE, Outcome, StageCall
from scene.errors import BadInput, CannotRun, ObjectError, is_device_error
from scene.store import Store
from stages.device_memory import is_out_of_memory
from stages.devices import ModelPool, OutOfDeviceMemory

RETRIES = 2
RETRY_DELAYS_S = [2.0, 10.0]
PASSING_ERRORS = (ConnectionError, TimeoutError)  # may be gone at the next try


@cache
def model_pool(device: str) -> ModelPool:
    """The one pool of this process for a device."""
    return ModelPool(device)


def can_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may be gone at the next try: memory, device, connection; never a bug."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, OutOfDeviceMemory):
        return False  # it was tried again already, with all memory freed
    return _passes(error)


def _passes(error: Any) -> bool:
    passing = isinstance(error, PASSING_ERRORS) or is_device_error(error)
    return passing or is_out_of_memory(error)


# The store is the only truth: Prefect's cache would not notice a damaged or deleted artifact.
@task(cache_policy=NO_CACHE, persist_result=False, retries=RETRIES,
      retry_delay_seconds=RETRY_DELAYS_S, retry_condition_fn=can_pass)  # fmt: skip
def run_step(call: StageCall, store_root: str, device: str, refresh: bool) -> Outcome:
    """Look one call up, or compute and publish it."""
    return produce(call, Store(Path(store_root)), model_pool(device), refresh)


@dataclass(frozen=True)
class Submitted:
    """A call handed to Prefect."""

    call: StageCall
    future: PrefectFuture[Outcome]

    def outcome(self) -> Outcome:
        """Wait; a failed call comes back with its reason in one line.

        A failure is what this input or this object makes impossible, and what may pass. All else
        ends the run: a bug, and what this machine lacks for every other step too (a full disk, a
        missing library, damaged weights).
        """
        result: Any = self.future.result(raise_on_failure=False)
        if isinstance(result, Outcome):
            return result
        wanting = _passes(result) or isinstance(result, OutOfDeviceMemory)
        if wanting and self.call.subject == WHOLE_SCENE:
            return Outcome(self.call, None, error=_without_scene(self.call.stage, result))
        if not (wanting or isinstance(result, (BadInput, ObjectError))):
            return Outcome(self.call, None, error=result)
        out_of_memory = isinstance(result, OutOfDeviceMemory) or is_out_of_memory(result)
        return Outcome(self.call, None, failure=reason(result), out_of_memory=out_of_memory)


def _without_scene(stage: str, error: BaseException) -> Exception:
    """What this machine lacks for a step of the whole scene."""
    if isinstance(error, MemoryError):
        return MemoryError(f"{stage}: close other programs, or give a smaller photo")
    found = CannotRun(f"{stage}: {reason(error)}")
    found.__cause__ = error
    return found


def reason(error: Any) -> str:
    """One line for an exception: its message, led by its type where that says more."""
    text = " ".join(str(error).split())
    if isinstance(error, (BadInput, ObjectError, OutOfDeviceMemory)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def submit(call: StageCall, store_root: str, device: str, refresh: bool) -> Submitted:
    """Start a call as a task run that is named by its stage and subject."""
    named = run_step.with_options(name=call.stage, task_run_name=f"{call.stage} {call.subject}")
    return Submitted(call, named.submit(call, store_root, device, refresh))
