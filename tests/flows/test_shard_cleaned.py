"""A batch's scenes while its store is cleaned: what the batch relies on stays."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flows.shard import reconstruct_scenes
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.archives import keep_scene, recall_scenes
from photoscene.runs.writing import Reconstruction
from scene.archives import ARCHIVES
from scene.manifests import Manifest
from scene.store import RECENT_S, USED_AGAIN_S, Store
from scene.upkeep import Rules, clean
from stages.devices import ModelPool
from support.clocked import Clocked
from support.small_photo import SmallPhoto

DAY_S = 86400.0
ORDERS = 8
CLEANED, PASSES = 0.05, 0.2  # how often, of all requests, all is cleaned, and time goes on


def make(small_photo: SmallPhoto, store: Store) -> list[Manifest]:
    """The results of one scene, made as a worker makes it."""
    arguments = Arguments(
        small_photo.photo, masks=(small_photo.masks["a"],), point_map=small_photo.depth,
        settings=("generate.backend=relief", "generate.grid=8", "complete.backend=passthrough"),
    )  # fmt: skip
    request = build_request(arguments, store.kept_here)
    (known,) = recall_scenes([request], store)
    store.upload(request.files if known is None else ())
    (run,) = reconstruct_scenes([request], store, ModelPool())
    assert run.scene is not None and run.error is None
    made = Reconstruction(request, run.scene, run.outcomes, "photo.png", 0.0)
    keep_scene(made, store, known)
    return [outcome.manifest for outcome in run.outcomes if outcome.manifest is not None]


@pytest.mark.slow
def test_cleaning_during_a_batch_loses_nothing(small_photo: SmallPhoto, tmp_path: Path) -> None:
    cleanings = [
        _clean_while_making(small_photo, random.Random(seed), tmp_path / str(seed))
        for seed in range(ORDERS)
    ]
    assert sum(cleanings) > 2 * ORDERS


def _clean_while_making(small_photo: SmallPhoto, chance: random.Random, folder: Path) -> int:
    """How often the store was cleaned meanwhile."""
    place, rules = Clocked(folder / "place"), Rules(older_than_s=30 * DAY_S)
    if chance.random() < 0.8:  # the same scene was made long ago, by another machine
        make(small_photo, Store(folder / "before", place))
        if chance.random() < 0.7:
            place.remove(next(place.listed(ARCHIVES)).name)
    place.clock["now"] += 100 * DAY_S
    left_s, cleanings = [RECENT_S - USED_AGAIN_S - 1], []

    def clean_at_times() -> None:
        if chance.random() < PASSES:
            passed = min(left_s[0], 3600.0)
            left_s[0] -= passed
            place.clock["now"] += passed
        if chance.random() < CLEANED:
            cleanings.append(clean(Store(folder / "cleaner", place), rules))

    watched = Clocked(place.root, place.clock, place.times, clean_at_times)
    made = make(small_photo, Store(folder / "batch", watched))
    fresh = Store(folder / "fresh", place)
    assert fresh.lookup_all(m.key for m in made) == {m.key: m for m in made}
    assert all(fresh.has(artifact) for m in made for artifact in m.inputs.values())
    assert fresh.verify() == []
    return len(cleanings)
