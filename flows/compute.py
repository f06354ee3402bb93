"""Carries one call out: from the store if it has the result, else computed and published."""

from __future__ import annotations

import logging
from functools import cache

from flows.calls import Outcome, StageCall
from flows.plan import STEPS
from scene.manifests import Manifest
from scene.store import Store
from stages.devices import ModelPool
from stages.lockstep import working_clock

logger = logging.getLogger(__name__)


@cache
def model_pool(device: str) -> ModelPool:
    """The one pool of this process for a device."""
    return ModelPool(device)


def produce(call: StageCall, store: Store, pool: ModelPool, refresh: bool = False) -> Outcome:
    """The result of a call: from the store if it is there and whole, else computed and published.

    While another process computes it, this one waits for that. refresh computes even what the store
    has. Errors of the step itself are raised.
    """
    known = None if refresh else _known(call, store)
    if known is not None:
        return known
    with store.claim(call.key):
        return _computed(call, store, pool, refresh)


def produce_unless_claimed(
    call: StageCall, store: Store, pool: ModelPool, refresh: bool = False
) -> Outcome | None:
    """As `produce`, but None at once where another process computes it just now."""
    known = None if refresh else _known(call, store)
    if known is not None:
        return known
    with store.claim(call.key, wait=False) as claimed:
        return _computed(call, store, pool, refresh) if claimed else None


def _known(call: StageCall, store: Store) -> Outcome | None:
    known = store.lookup(call.key)
    return None if known is None else answered(call, known)


def answered(call: StageCall, manifest: Manifest) -> Outcome:
    """What comes of a call whose result is in the store."""
    logger.info("cached", extra={"call": call, "seconds": 0.0, "computed": False})
    return Outcome(call, manifest)


def _computed(call: StageCall, store: Store, pool: ModelPool, refresh: bool) -> Outcome:
    """Compute and publish, unless somebody did while this process waited."""
    known = None if refresh else _known(call, store)
    if known is not None:
        return known
    started = working_clock()
    outputs = STEPS[call.stage].compute(call, store, pool)
    seconds = working_clock() - started
    manifest = Manifest(
        call.key, call.stage, call.subject, call.backend, call.version, call.settings_json,
        call.weights, call.seed, call.inputs, outputs, round(seconds, 4),
    )  # fmt: skip
    manifest = store.publish(manifest, replace=refresh)
    logger.info("computed", extra={"call": call, "seconds": seconds, "computed": True})
    return Outcome(call, manifest, computed=True)
