"""Carries out the first steps of a request while the private Prefect server starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from flows.calls import Outcome, StageCall
from flows.compute import produce
from flows.plan import carry_out, plan_scene
from flows.request import Request
from scene.store import Store
from stages.devices import ModelPool

logger = logging.getLogger(__name__)


class _Ended(Exception):
    """The rest is the flow's."""


def compute_ahead(
    request: Request,
    store: Store,
    pool: ModelPool,
    refresh: Sequence[str],
    enough: Callable[[], bool],
) -> list[Outcome]:
    """What came of the steps that were carried out, one after another, until `enough()`.

    Ends before a step that `refresh` names ("generate" or "generate:OBJECT_ID"), and at the first
    failure, whatever it is: the flow meets it again, and retries or reports it.
    """
    outcomes: list[Outcome] = []

    def run(calls: list[StageCall]) -> list[Outcome]:
        ended = []
        for call in calls:
            if enough() or {call.stage, f"{call.stage}:{call.subject}"} & {*refresh}:
                raise _Ended
            ended.append(produce(call, store, pool))
            outcomes.append(ended[-1])
        return ended

    try:
        carry_out(plan_scene(request, store), run)
    except _Ended:
        pass
    except Exception as error:
        logger.debug("left to the flow: %s", error)
    return outcomes
