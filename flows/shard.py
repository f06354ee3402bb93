"""Many scenes in one process, stage by stage: each stage's models are read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flows.calls import Outcome, StageCall
from flows.compute import produce
from flows.failures import RETRY_DELAYS_S, can_pass, failed
from flows.plan import STEPS, Plan, StageFailed, plan_scene
from flows.request import Request
from scene.store import Store
from scene.types import Scene
from stages.devices import ModelPool


@dataclass(eq=False)
class SceneRun:
    """One request's scene on its way: what came of its calls so far, in the end scene or error.

    error: why there is no scene; the other scenes go on.
    """

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

    def begin(self) -> None:
        """Ask the plan for its first calls."""
        self._calls = next(self.plan)

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
            try:
                self._calls = self.plan.send(ended)
            except StopIteration as done:
                self.scene = done.value
            except StageFailed as error:
                self.error = error


def reconstruct_scenes(
    requests: Sequence[Request],
    store: Store,
    pool: ModelPool,
    refresh: Callable[[StageCall], bool] = lambda call: False,
) -> list[SceneRun]:
    """The scenes of many requests; of all calls that wait, those of the earliest stage are next.

    A scene that fails has its error and does not stop the others. Retries are those of the flow.
    """
    runs = [SceneRun(request, plan_scene(request, store)) for request in requests]
    for run in runs:
        run.begin()
    while any(run.waiting for run in runs):
        stages = {call.stage for run in runs for _, call in run.waiting}
        stage = min(stages, key=list(STEPS).index)
        for run in runs:
            for index, call in run.waiting:
                if call.stage == stage:
                    run.end(index, _carried_out(call, store, pool, refresh(call)))
    return runs


def _carried_out(call: StageCall, store: Store, pool: ModelPool, refresh: bool) -> Outcome:
    """What comes of a call; what may pass is tried again."""
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return produce(call, store, pool, refresh)
        except Exception as error:  # `failed` tells a bug from the rest, and keeps it
            if delay_s is None or not can_pass(error):
                return failed(call, error)
        time.sleep(delay_s)
    raise AssertionError("the last try returns")
