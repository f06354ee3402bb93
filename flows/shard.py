"""Many scenes in one process, stage by stage: each stage's models are read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from flows.calls import BUILT_IN, EDITED, Outcome, StageCall
from flows.compute import answered, produce, produce_unless_claimed
from flows.failures import RETRY_DELAYS_S, can_pass, failed
from flows.plan import STEPS, Plan, StageFailed, plan_scene
from flows.request import Request
from scene.errors import CannotRun
from scene.store import Store
from scene.types import Scene
from stages.devices import ModelPool
from stages.lockstep import Lockstep, current_member

# Calls in one lockstep, as many as three objects in each of 32 scenes. Between two networks an
# object of Pixal3D holds 60 MB: its images, their features in float32 (1024 channels of 32 x 32 and
# 64 x 64 patches), the structure's conditioning. And each has a thread, with helpers of torch.
MAX_LOCKSTEP = 96


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
    """What is called while scenes are reconstructed, from whichever thread carries out a call.

    step_began: also when it goes on after step_paused: it waited for another process, or for the
    other calls of its lockstep.
    """

    step_began: Callable[[SceneRun, StageCall], None] = lambda run, call: None
    step_ended: Callable[[SceneRun, Outcome], None] = lambda run, outcome: None
    step_paused: Callable[[SceneRun, StageCall], None] = lambda run, call: None
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
    to one at a time, and a second thread reads and writes files meanwhile. Calls that are to have
    one network at a time in memory go through their networks in lockstep. What the store has comes
    first, and what another process computes just now last, so that two that share a store do not
    wait for each other.
    A scene that fails has its error and does not stop the others. Retries are those of the flow.
    """
    runs = [SceneRun(i, request, plan_scene(request, store)) for i, request in enumerate(requests)]
    for run in runs:
        run.begin()
        if run.has_ended:
            observer.scene_ended(run)
    with ThreadPoolExecutor(threads) as executor:
        driver = _Driver(store, pool, refresh, observer, executor)
        while calls := _earliest_calls(runs):
            for carry_out in (driver.known, driver.without_waiting, driver.waiting):
                deferred = []
                for waiting, outcome in carry_out(calls):
                    if outcome is None:
                        deferred.append(waiting)
                        continue
                    waiting.run.end(waiting.index, outcome)
                    if waiting.run.has_ended:
                        observer.scene_ended(waiting.run)
                calls = deferred
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


Ended = Iterator[tuple[_Waiting, Outcome | None]]  # None: to be done later
Produce = Callable[[StageCall, Store, ModelPool, bool], Outcome | None]


@dataclass(frozen=True)
class _Driver:
    """Carries out calls of one stage; see `reconstruct_scenes`."""

    store: Store
    pool: ModelPool
    refresh: Callable[[StageCall], bool]
    observer: Observer
    executor: ThreadPoolExecutor

    def known(self, calls: Sequence[_Waiting]) -> Ended:
        """Those whose results are in the store, which is asked for all of them at once."""
        keys = [w.call.key for w in calls if not self.refresh(w.call)]
        try:
            found = self.store.lookup_all(keys)
        except (OSError, CannotRun):  # each call meets it again, and says so
            found = {}
        for waiting in calls:
            manifest = found.get(waiting.call.key)
            if manifest is None:
                yield waiting, None
                continue
            self.observer.step_began(waiting.run, waiting.call)
            outcome = answered(waiting.call, manifest)
            self.observer.step_ended(waiting.run, outcome)
            yield waiting, outcome

    def without_waiting(self, calls: Sequence[_Waiting]) -> Ended:
        """Calls that no other process is at, in lockstep where they can be."""
        by_model: dict[str | None, list[_Waiting]] = {}
        for waiting in calls:
            by_model.setdefault(self._lockstep_key(waiting.call), []).append(waiting)
        single = by_model.pop(None, [])
        carry_out = partial(self._observed, produce=produce_unless_claimed)
        yield from zip(single, self.executor.map(carry_out, single), strict=True)
        for same in by_model.values():
            for first in range(0, len(same), MAX_LOCKSTEP):
                yield from self._in_lockstep(same[first : first + MAX_LOCKSTEP])

    def waiting(self, calls: Sequence[_Waiting]) -> Ended:
        """The others, each for the process that is at it; and what failed in lockstep, again."""
        carry_out = partial(self._observed, produce=produce)
        return zip(calls, self.executor.map(carry_out, calls), strict=True)

    def _in_lockstep(self, calls: Sequence[_Waiting]) -> Ended:
        """Calls that share a model, by a thread each."""
        with (
            self.pool.lockstep(len(calls)) as lockstep,
            ThreadPoolExecutor(len(calls)) as members,
        ):
            carry_out = partial(self._as_member, lockstep)
            yield from zip(calls, members.map(carry_out, range(len(calls)), calls), strict=True)

    def _as_member(self, lockstep: Lockstep, number: int, waiting: _Waiting) -> Outcome | None:
        paused = partial(self.observer.step_paused, waiting.run, waiting.call)
        resumed = partial(self.observer.step_began, waiting.run, waiting.call)
        with lockstep.member(number, paused, resumed):
            return self._observed(waiting, produce_unless_claimed)

    def _observed(self, waiting: _Waiting, produce: Produce) -> Outcome | None:
        self.observer.step_began(waiting.run, waiting.call)
        outcome = self._outcome(waiting.call, produce)
        if outcome is None:
            self.observer.step_paused(waiting.run, waiting.call)
        else:
            self.observer.step_ended(waiting.run, outcome)
        return outcome

    def _outcome(self, call: StageCall, produce: Produce) -> Outcome | None:
        """What comes of a call; what may pass is tried again, by a member of a lockstep when that
        has ended. None: later, for this or since another process is at it."""
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                return produce(call, self.store, self.pool, self.refresh(call))
            except Exception as error:  # `failed` tells a bug from the rest, and keeps it
                if delay_s is None or not can_pass(error):
                    return failed(call, error)
                if current_member() is not None:
                    return None
            time.sleep(delay_s)
        raise AssertionError("the last try returns")

    def _lockstep_key(self, call: StageCall) -> str | None:
        stage = STEPS[call.stage].stage
        if stage is None or call.backend in (BUILT_IN, EDITED):
            return None
        return self.pool.lockstep_key(stage, call.backend, call.settings)
