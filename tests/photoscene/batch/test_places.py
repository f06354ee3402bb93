"""A GPU has one worker, whoever asks; without GPUs workers have equal parts of the cores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from photoscene.batch import places
from photoscene.batch.places import THREADS, VISIBLE, cpu_place, worker_places
from scene.errors import CannotRun


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three GPUs by their names, no cores asked for, and a folder for locks."""
    monkeypatch.setenv(VISIBLE, "GPU-a, GPU-b,GPU-c")
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places.tempfile, "tempdir", str(tmp_path))


def gpus(found: list[places.Place]) -> list[str]:
    return [place[VISIBLE] for place in found]


def test_a_gpu_is_one_workers_until_it_ends() -> None:
    with worker_places(2, "cuda", os.environ) as first:
        assert gpus(first) == ["GPU-a", "GPU-b"]
        with worker_places(2, "cuda", os.environ) as second:
            assert gpus(second) == ["GPU-c"]
            with (
                pytest.raises(CannotRun, match="other batches have GPU-a, GPU-b, GPU-c: wait"),
                worker_places(1, "cuda", os.environ),
            ):
                pass
    with worker_places(9, "cuda", os.environ) as all_of_them:
        assert len(gpus(all_of_them)) == 3


def test_a_gpu_by_its_number_is_that_one() -> None:
    with worker_places(4, "cuda:1", os.environ) as found:
        assert gpus(found) == ["GPU-b"]
    with pytest.raises(CannotRun, match="shows 3 GPUs"), worker_places(1, "cuda:3", os.environ):
        pass


def test_cores_are_parted_unless_variables_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "usable_cores", lambda: 8)
    with worker_places(3, "cpu", os.environ) as found:
        assert found == [dict.fromkeys(THREADS, "2")] * 3
    assert cpu_place(100, os.environ) == dict.fromkeys(THREADS, "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert cpu_place(2, os.environ)["OMP_NUM_THREADS"] == "5"
