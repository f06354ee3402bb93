"""Many scenes stage by stage: the bytes of single runs, and each weights file is read once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from flows.plan import STEPS
from flows.request import Request
from flows.shard import Observer, reconstruct_scenes
from photoscene.inputs.request import Arguments, build_request
from scene.errors import BadInput, CannotGenerate
from scene.scene_json import scene_to_json
from scene.store import Store
from stages import bundled
from stages.devices import ModelPool
from stages.generate.lite import Lite
from support.inline import reconstruct_inline
from support.small_photo import SmallPhoto


def _requests(small_photo: SmallPhoto, store: Store) -> list[Request]:
    """Four scenes of one photo: other masks and other seeds."""
    arguments = [
        Arguments(small_photo.photo, masks=(small_photo.masks[name],), point_map=small_photo.depth,
                  settings=("generate.backend=lite", "generate.grid=8"), seed=seed)
        for seed, name in enumerate("abca")
    ]  # fmt: skip
    return [build_request(a, store) for a in arguments]


def test_the_bytes_of_single_runs_and_each_weights_file_read_once(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    known = bundled.load_network

    def load_network(name: str, sha256: str) -> bundled.Network:
        reads.append(name)
        return known(name, sha256)

    monkeypatch.setattr("stages.generate.lite.load_network", load_network)
    together = Store(tmp_path / "together")
    runs = reconstruct_scenes(_requests(small_photo, together), together, ModelPool())
    assert reads == ["generator.onnx"]
    for index, run in enumerate(runs):
        store = Store(tmp_path / str(index))
        scene, outcomes = reconstruct_inline(
            _requests(small_photo, store)[index], store, ModelPool()
        )
        assert run.scene is not None and scene_to_json(run.scene) == scene_to_json(scene)
        assert [o.call.key for o in run.outcomes] == [o.call.key for o in outcomes]
        assert run.scene.glb is not None and together.read(run.scene.glb)


@pytest.mark.slow
def test_one_stage_over_all_scenes_before_the_next(small_photo: SmallPhoto, tmp_path: Path) -> None:
    stages: list[str] = []
    observer = Observer(step_began=lambda run, call: stages.append(call.stage))
    store = Store(tmp_path)
    reconstruct_scenes(_requests(small_photo, store), store, ModelPool(), observer=observer)
    order = [list(STEPS).index(stage) for stage in stages]
    assert order == sorted(order) and stages.count("generate") == 4


def test_a_scene_that_fails_does_not_stop_the_others(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    requests = _requests(small_photo, store)
    words = store.save_bytes(b"no picture", "file", ".png")
    requests[1] = dataclasses.replace(requests[1], photo=words)
    monkeypatch.setattr(Lite, "generate", _thin_for_the_first_seed(Lite.generate))
    good, bad, *rest = reconstruct_scenes(requests, store, ModelPool())
    assert isinstance(bad.error, BadInput) and "the photo" in str(bad.error) and bad.scene is None
    assert good.scene is not None and [o.failure for o in good.scene.objects] == ["generate: thin"]
    assert all(run.scene is not None and run.scene.glb is not None for run in rest)


def _thin_for_the_first_seed(generate: Any) -> Any:
    first: list[int] = []

    def thin(self: Lite, crop: Any, seed: int) -> Any:
        first.append(seed)
        if seed == first[0]:
            raise CannotGenerate("thin")
        return generate(self, crop, seed)

    return thin


def test_a_bug_ends_its_scene_and_is_kept(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(Lite, "generate", lambda *_: {}["missing"])
    runs = reconstruct_scenes(_requests(small_photo, store)[:2], store, ModelPool())
    assert all(isinstance(run.error, KeyError) and run.scene is None for run in runs)
