"""Could the store answer with what older code made? An output never changes under one VERSION."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fingerprints.cases import all_cases
from fingerprints.measure import differences, fingerprint
from fingerprints.records import ROOT, by_subject, entry_of, fault_of, read_records, where_to_raise
from flows.plan import STAGES, STEPS
from scene.store import Store
from scene.types import ObjectMesh, PointMap
from stages.backends import backend_names
from stages.devices import ModelPool

GROUPS = by_subject(all_cases())
# These need weights of many gigabytes; their tests hold them to golden tensors and tiny networks.
NEED_DOWNLOADS = {"segment/sam3", "segment/sam2", "map_points/moge", "complete/qwen_edit",
                  "generate/cupid", "generate/direct3d_s2", "generate/pixal3d"}  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> ModelPool:
    return ModelPool()


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(subject, marks=[pytest.mark.extra(cases[0].needs)] if cases[0].needs else [])
        for subject, cases in GROUPS.items()
    ],
)
def test_an_output_changes_only_with_its_version(
    subject: str, pool: ModelPool, tmp_path: Path
) -> None:
    cases = GROUPS[subject]
    now = entry_of(cases, Store(tmp_path), pool)
    assert fault_of(subject, read_records().get(subject), now, cases[0].rounding) is None


def test_every_step_and_backend_that_can_run_here_has_a_fingerprint() -> None:
    backends = {f"{stage.name}/{n}" for stage in STAGES.values() for n in backend_names(stage)}
    own = STEPS.keys() - STAGES.keys() - {"edit"}  # which copies what a person made
    steps = {f"{step}/built-in" for step in own}
    assert set(GROUPS) == (backends | steps) - NEED_DOWNLOADS
    assert NEED_DOWNLOADS <= backends
    assert set(read_records()) == set(GROUPS)


def test_a_change_under_an_old_version_says_which_one_to_raise() -> None:
    before = read_records()["generate/lite"]
    now = copy.deepcopy(before)
    vertices = now["cases"]["egg"]["mesh"]["accessors"][1]["array"]
    vertices["samples"][3] += 0.01
    fault = fault_of("generate/lite", before, now)
    assert fault and fault.stale
    assert "version in BACKEND of stages/generate/lite/__init__.py" in fault.message
    assert "samples" in fault.message
    fault = fault_of("crop/built-in", before, now)
    assert fault and fault.stale and "version in STEP of flows/steps/crop.py" in fault.message
    now["version"] = "99"
    fault = fault_of("generate/lite", before, now)
    assert fault and not fault.stale and "make fingerprints" in fault.message
    assert fault_of("generate/lite", before, copy.deepcopy(before)) is None


def test_every_version_named_in_a_message_exists() -> None:
    for subject in GROUPS:
        named = re.findall(r"in (\w+) of (\S+\.py)", where_to_raise(*subject.split("/")))
        assert len(named) == (2 if subject.split("/")[0] in STAGES else 1)
        for record, file in named:
            text = (ROOT / file).read_text("utf-8")
            assert re.search(rf"^{record} = [^)]*\bversion=", text, re.MULTILINE)


def test_a_fingerprint_sees_what_matters_and_forgives_rounding() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(500, 3)).astype(np.float32)
    known = json.loads(json.dumps(fingerprint({"points": points, "scale": 0.25})))
    rounded = fingerprint({"points": points * np.float32(1 + 1e-6), "scale": 0.25 * (1 + 1e-7)})
    assert not list(differences(known, rounded))
    moved = points.copy()
    moved[100:120] += 0.05
    assert list(differences(known, fingerprint({"points": moved, "scale": 0.25})))
    assert list(differences(known, fingerprint({"points": points[:-1], "scale": 0.25})))
    assert list(differences(known, fingerprint({"points": points, "scale": 0.2501})))
    holed = points.copy()
    holed[7, 1] = np.nan
    assert list(differences(known, fingerprint({"points": holed, "scale": 0.25})))


@pytest.mark.slow
@pytest.mark.parametrize("subject", [s for s, cases in GROUPS.items() if not cases[0].needs])
def test_rounding_of_another_processor_is_forgiven(
    subject: str, pool: ModelPool, tmp_path: Path
) -> None:
    """Inputs moved by the last bits of their floats stand for sums made in another order."""
    rng, cases = np.random.default_rng(1), GROUPS[subject]

    def shaken(value: Any) -> Any:
        if isinstance(value, PointMap):
            return replace(value, depth=moved(value.depth))
        if isinstance(value, ObjectMesh):
            return replace(value, vertices=moved(value.vertices))
        return value

    def moved(array: np.ndarray) -> np.ndarray:
        return (array * (1 + 2e-7 * rng.normal(size=array.shape))).astype(np.float32)

    others = [replace(c, inputs={n: shaken(v) for n, v in c.inputs.items()}) for c in cases]
    now = entry_of(others, Store(tmp_path), pool)
    assert fault_of(subject, read_records()[subject], now, cases[0].rounding) is None
