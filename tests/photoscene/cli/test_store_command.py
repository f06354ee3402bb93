"""`photoscene store`: what it reports, what it removes, and what it refuses."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from photoscene.cli import app
from photoscene.cli.manage_store import needed_by
from photoscene.runs.folder import read_run
from scene.keys import digest
from scene.manifests import Manifest, artifact_name
from scene.store import Store
from support.run_folders import Ready

KEYS = [digest(b"one"), digest(b"two")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two results of a hundred days ago."""
    made = Store(tmp_path / "store")
    for key in KEYS:
        outputs = {"own": made.save({"key": key})}
        made.publish(Manifest(key, "place", "scene", "a", "1", {}, "", 0, {}, outputs))
    long_ago_s = time.time() - 100 * 86400
    for path in made.root.rglob("*.json"):
        os.utime(path, (long_ago_s, long_ago_s))
    return made


def call(store: Store, *words: object) -> tuple[int, dict, str]:
    """Exit status, the document, and the line of an error."""
    command = ["store", *map(str, words), "--store", str(store.root), "--json"]
    done = CliRunner().invoke(app, command)
    return done.exit_code, json.loads(done.stdout or "{}"), done.stderr


def test_age_is_counted_from_the_last_use_and_a_dry_run_removes_nothing(store: Store) -> None:
    status, found, _ = call(store, "stats")
    assert status == 0 and found["results"]["files"] == found["artifacts"]["files"] == 2
    assert 99 < found["oldest_s"] / 86400 < 101 and not found["being_computed"]
    assert Store(store.root).lookup(KEYS[0])
    planned = call(store, "gc", "--older-than", "30d", "--dry-run")[1]
    assert planned["removed_results"]["files"] == planned["removed_artifacts"]["files"] == 1
    assert call(store, "stats")[1]["results"]["files"] == 2
    done = call(store, "gc", "--older-than", "30d")[1]
    assert {**done, "dry_run": True} == planned
    assert Store(store.root).lookup(KEYS[0]) and Store(store.root).lookup(KEYS[1]) is None
    assert call(store, "verify") == (0, {"store": str(store.root), "damaged": []}, "")


def test_what_run_folders_need_stays(store: Store, tmp_path: Path) -> None:
    ready = Ready(store)
    ready.write(tmp_path / "out" / "cup", ready.scene(np.random.default_rng(7)), "compose", [])
    needed = needed_by([tmp_path / "out"])
    steps = read_run(tmp_path / "out" / "cup").record.steps
    assert steps and needed.keys == {step.key for step in steps}
    assert {a for step in steps for a in step.outputs.values()} <= set(needed.artifacts)
    done = call(store, "gc", "--runs", tmp_path / "out", "--grace", "0h")[1]
    assert done["removed_results"]["files"] == 2
    assert all(store.blobs.entry(artifact_name(a)) for a in needed.artifacts)


def test_damage_is_listed_with_status_1(store: Store) -> None:
    path = next(store.root.glob("artifacts/*/*"))
    path.write_bytes(b"damaged")
    status, found, _ = call(store, "verify")
    assert status == 1 and len(found["damaged"]) == 1 and str(path) in found["damaged"][0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--older-than", "30"), "--older-than 30: expected a number with a unit"),
        (("--older-than", "1e9d"), "expected a number with a unit"),
        (("--max-size", "50d"), "--max-size 50d: expected a number with a unit, such as 50G"),
        (("--runs", "nowhere"), "--runs nowhere: there is no run folder below"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    store: Store, options: tuple[str, ...], reason: str
) -> None:
    status, _, error = call(store, "gc", *options)
    assert status == 2 and reason in error and error.count("\n") == 1
    assert call(store, "stats")[1]["results"]["files"] == 2


@pytest.mark.parametrize("words", [("stats",), ("verify",), ("gc", "--older-than", "1d")])
def test_a_store_that_is_not_there_is_no_healthy_store(tmp_path: Path, words: tuple[str]) -> None:
    status, _, line = call(Store(tmp_path / "nowhere"), *words)
    assert status == 2 and "nowhere is not there: check --store or PHOTOSCENE_STORE" in line
    assert not (tmp_path / "nowhere").exists()
