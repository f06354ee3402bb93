"""Carries one call out: from the store if it has the result, else computed and published."""

from __future__ import annotations

import logging
import time

from flows.calls import Outcome, StageCall
from flows.plan import STEPS
from scene.store import Manifest, Store
from stages.devices import ModelPool

logger = logging.getLogger(__name__)


def produce(call: StageCall, store: Store, pool: ModelPool, refresh: bool = False) -> Outcome:
    """The result of a call: from the store if it is there and whole, else computed and published.

    refresh computes even what the store has. Errors of the step itself are raised.
    """
    known = None if refresh else store.lookup(call.key)
    if known is not None:
        logger.info("cached", extra={"call": call, "seconds": 0.0, "computed": False})
        return Outcome(call, known)
    started = time.monotonic()
    outputs = STEPS[call.stage].compute(call, store, pool)
    seconds = time.monotonic() - started
    manifest = Manifest(
        call.key, call.stage, call.subject, call.backend, call.version, call.settings_json,
        call.weights, call.seed, call.inputs, outputs, round(seconds, 4),
    )  # fmt: skip
    store.publish(manifest)
    logger.info("computed", extra={"call": call, "seconds": seconds, "computed": True})
    return Outcome(call, manifest, computed=True)
