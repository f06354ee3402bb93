"""Many scenes in one process, stage by stage: each stage's models are read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from flows.calls import Outcome, StageCall
from flows.compute import produce, produce_unless_claimed
from flows.failures import RETRY_DELAYS_S, can_pass, failed
from flows.plan import STEPS, Plan, StageFailed, plan_scene
from flows.request import Request
from scene.store import Store
from scene.types import Scene
from stages.devices import ModelPool


@dataclass(eq=False)
class SceneRun:
    """One request's scene on its way: what came of its calls so far, in the end scene or error.

    index: of the request; error: why there is no scene, while the other scenes go on.
    """

    index: int
    request: Request
    plan: Plan
    outcomes: list[Outcome] = field(default_factory=list)
    scene: Scene | None = None
    error: BaseException | None = None
    _calls: list[StageCall] = field(default_factory=list)
    _ended: dict[int, Outcome] = field(default_factory=dict)

    @property
    def waiting(self) -> list[tuple[int, StageCall]]:
        """The calls that the plan waits for, with their places in its list."""
        return [(i, call) for i, call in enumerate(self._calls) if i not in self._ended]

    @property
    def has_ended(self) -> bool:
        """Whether there is a scene, or an error instead."""
        return self.scene is not None or self.error is not None

    def begin(self) -> None:
        """Ask the plan for its first calls."""
        self._go_on(lambda: next(self.plan))

    def end(self, index: int, outcome: Outcome) -> None:
        """Take what came of a call; with the last one of a list the plan goes on."""
        self._ended[index] = outcome
        if self.waiting:
            return
        ended = [self._ended[i] for i in range(len(self._calls))]
        self.outcomes += ended
        self._calls, self._ended = [], {}
        self.error = next((o.error for o in ended if o.error is not None), None)
        if self.error is None:
            self._go_on(lambda: self.plan.send(ended))

    def _go_on(self, step: Callable[[], list[StageCall]]) -> None:
        try:
            self._calls = step()
        except StopIteration as done:
            self.scene = done.value
        except StageFailed as error:
            self.error = error


@dataclass(frozen=True)
class Observer:
    """What is called while scenes are reconstructed, from whichever thread carries out a call."""

    step_began: Callable[[SceneRun, StageCall], None] = lambda run, call: None
    step_ended: Callable[[SceneRun, Outcome], None] = lambda run, outcome: None
    step_deferred: Callable[[SceneRun, StageCall], None] = lambda run, call: None
    scene_ended: Callable[[SceneRun], None] = lambda run: None


def reconstruct_scenes(
    requests: Sequence[Request],
    store: Store,
    pool: ModelPool,
    refresh: Callable[[StageCall], bool] = lambda call: False,
    observer: Observer = Observer(),
    threads: int = 1,
) -> list[SceneRun]:
    """The scenes of many requests; of all calls that wait, those of the earliest stage are next.

    threads: how many calls of a stage are carried out at once. On a GPU the pool lends its models
    to one at a time, and a second thread reads and writes files meanwhile. What another process
    computes just now comes last, so that two that share a store do not wait for each other.
    A scene that fails has its error and does not stop the others. Retries are those of the flow.
    """

    def carry_out(waiting: _Waiting, wait: bool) -> Outcome | None:
        """Carry one call out; None where another process is at it, unless this one is to wait."""
        observer.step_began(waiting.run, waiting.call)
        outcome = _outcome(waiting.call, store, pool, refresh(waiting.call), wait)
        if outcome is None:
            observer.step_deferred(waiting.run, waiting.call)
        else:
            observer.step_ended(waiting.run, outcome)
        return outcome

    runs = [SceneRun(i, request, plan_scene(request, store)) for i, request in enumerate(requests)]
    for run in runs:
        run.begin()
        if run.has_ended:
            observer.scene_ended(run)
    with ThreadPoolExecutor(threads) as executor:
        while calls := _earliest_calls(runs):
            for wait in (False, True):
                outcomes = executor.map(partial(carry_out, wait=wait), calls)
                claimed = []
                for waiting, outcome in zip(calls, outcomes, strict=True):
                    if outcome is None:
                        claimed.append(waiting)
                        continue
                    waiting.run.end(waiting.index, outcome)
                    if waiting.run.has_ended:
                        observer.scene_ended(waiting.run)
                calls = claimed
    return runs


@dataclass(frozen=True)
class _Waiting:
    """A call that a scene's plan waits for, and its place in the plan's list."""

    run: SceneRun
    index: int
    call: StageCall


def _earliest_calls(runs: Sequence[SceneRun]) -> list[_Waiting]:
    """Of all calls that wait those of the earliest stage, [] when all scenes have ended."""
    waiting = [_Waiting(run, index, call) for run in runs for index, call in run.waiting]
    stages = {each.call.stage for each in waiting}
    return [w for w in waiting if w.call.stage == min(stages, key=list(STEPS).index)]


def _outcome(
    call: StageCall, store: Store, pool: ModelPool, refresh: bool, wait: bool
) -> Outcome | None:
    """What comes of a call; what may pass is tried again. None: another process is at it."""
    carry_out = produce if wait else produce_unless_claimed
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return carry_out(call, store, pool, refresh)
        except Exception as error:  # `failed` tells a bug from the rest, and keeps it
            if delay_s is None or not can_pass(error):
                return failed(call, error)
        time.sleep(delay_s)
    raise AssertionError("the last try returns")
