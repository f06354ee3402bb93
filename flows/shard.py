"""Many scenes in one process, stage by stage: each stage's models are read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

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

    def carry_out(run: SceneRun, call: StageCall, wait: bool) -> Outcome | None:
        observer.step_began(run, call)
        outcome = _outcome(call, store, pool, refresh(call), wait)
        if outcome is not None:
            observer.step_ended(run, outcome)
        return outcome

    runs = [SceneRun(i, request, plan_scene(request, store)) for i, request in enumerate(requests)]
    for run in runs:
        run.begin()
        if run.has_ended:
            observer.scene_ended(run)
    with ThreadPoolExecutor(threads) as executor:
        while any(run.waiting for run in runs):
            stages = {call.stage for run in runs for _, call in run.waiting}
            stage = min(stages, key=list(STEPS).index)
            calls = [(r, i, c) for r in runs for i, c in r.waiting if c.stage == stage]
            for wait in (False, True):
                futures = [executor.submit(carry_out, run, call, wait) for run, _, call in calls]
                claimed = []
                for (run, index, call), future in zip(calls, futures, strict=True):
                    outcome = future.result()
                    if outcome is None:
                        claimed.append((run, index, call))
                        continue
                    run.end(index, outcome)
                    if run.has_ended:
                        observer.scene_ended(run)
                calls = claimed
    return runs


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
