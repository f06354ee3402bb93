"""Is every step computed when it must be, never when it need not be, and remade when damaged?"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from flows.cached import NotCached, cached_scene
from flows.calls import Outcome
from flows.request import request_to_json
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import reconstruct_photo
from scene.keys import canonical_json, digest
from scene.scene_json import scene_to_json
from scene.store import Store
from scene.types import Bool, Scene
from stages.devices import ModelPool
from support.inline import reconstruct_inline
from support.small_photo import SmallPhoto, small_masks, write_mask

Computed = set[tuple[str, str]]
SCENE = "scene"
# One is enough for every day: each is noticed by the same digest.
DAMAGES = ("flipped", *(pytest.param(d, marks=pytest.mark.slow) for d in ("deleted", "cut short")))


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, its store's folder, and what came of it."""

    arguments: Arguments
    root: Path
    scene: Scene
    outcomes: list[Outcome]

    @property
    def objects(self) -> dict[str, str]:
        """Object ids by name."""
        return {o.name: o.id for o in self.scene.objects}


@pytest.fixture(scope="module")
def finished(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The small photo, reconstructed by the flow; tests copy the store before they touch it."""
    root = tmp_path_factory.mktemp("finished") / "store"
    store, arguments = Store(root), small_photo.arguments()
    scene, outcomes = reconstruct_photo(build_request(arguments, store), store)
    assert all(o.failure is None for o in scene.objects), scene.objects
    assert all(outcome.computed for outcome in outcomes)
    assert store.verify() == []
    return Run(arguments, root, scene, outcomes)


def copied(run: Run, folder: Path) -> Store:
    """A copy of the run's store that nobody has looked into yet."""
    return Store(Path(shutil.copytree(run.root, folder / "store")))


def computed_by(outcomes: list[Outcome]) -> Computed:
    assert [o.failure for o in outcomes if o.failure] == []
    return {(o.call.stage, o.call.subject) for o in outcomes if o.computed}


def bytes_of(root: Path) -> dict[str, bytes]:
    """Every artifact below a store's root by its name."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.glob("artifacts/*/*")}


def results_of(root: Path) -> dict[str, dict[str, object]]:
    """Every manifest below a store's root by its key, less the seconds it took."""
    store = Store(root)
    manifests = {p.stem: store.lookup(p.stem) for p in root.glob("results/*/*.json")}
    assert None not in manifests.values()
    return {key: {**vars(m), "seconds": 0.0} for key, m in manifests.items()}


def test_an_identical_request_computes_nothing(finished: Run) -> None:
    store = Store(finished.root)
    scene, outcomes = reconstruct_photo(build_request(finished.arguments, store), store)
    assert [o.call.key for o in outcomes] == [o.call.key for o in finished.outcomes]
    assert computed_by(outcomes) == set()
    assert scene_to_json(scene) == scene_to_json(finished.scene)


def test_a_forced_stage_computes_only_itself(finished: Run, tmp_path: Path) -> None:
    store = copied(finished, tmp_path)
    before = bytes_of(store.root)
    request = build_request(finished.arguments, store)
    b = finished.objects["b"]
    scene, outcomes = reconstruct_photo(request, store, refresh=[f"generate:{b}", "place"])
    assert computed_by(outcomes) == {("generate", b), ("place", SCENE)}
    assert scene_to_json(scene) == scene_to_json(finished.scene)
    assert bytes_of(store.root) == before


WARM_RUN = """
import json, sys
from pathlib import Path
from photoscene.cli import app

try:
    app(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
heavy = [name for name in ("prefect", "trimesh", "scipy", "onnxruntime") if name in sys.modules]
print(json.dumps({"status": status, "heavy": heavy}), file=sys.stderr)
"""


@pytest.mark.slow
def test_a_moved_store_answers_without_prefect_whatever_its_home(
    finished: Run, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    moved = copied(finished, tmp_path).root.rename(tmp_path / "elsewhere")
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "new_home")}
    command = [sys.executable, "-c", WARM_RUN, "run", *small_photo.options()]
    command += ["--store", str(moved), "-o", str(tmp_path / "run")]
    for heavy in ('["trimesh", "scipy"]', "[]"):  # the first report draws, the second looks up
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.splitlines()[-1] == f'{{"status": 0, "heavy": {heavy}}}'
    assert f"0 of {len(finished.outcomes)} steps computed" in ran.stdout
    assert (tmp_path / "run" / "scene.glb").exists()
    assert not (tmp_path / "new_home").exists()


def far_side_off(a: Bool) -> Bool:
    """Without its left end, which the crop of "b" does not show."""
    return np.where(np.arange(a.shape[1]) < 32, False, a)


def hiding_side_off(a: Bool) -> Bool:
    """Without two columns at the border with "b"."""
    return np.where(np.arange(a.shape[1]) > 98, False, a)


def foot_off(a: Bool) -> Bool:
    """Without its lowest rows: in the crop of "b", but below everything that "b" could hide."""
    return np.where(np.arange(a.shape[0])[:, None] > 117, False, a)


@pytest.mark.parametrize(
    ("change", "chain_of_b"),
    [
        (far_side_off, set()),
        (foot_off, {"complete"}),  # its occluder changed, its completion did not
        (hiding_side_off, {"complete", "frame", "generate"}),
    ],
)
def test_another_mask_recomputes_its_own_chain(
    change: Callable[[Bool], Bool],
    chain_of_b: set[str],
    finished: Run,
    small_photo: SmallPhoto,
    tmp_path: Path,
) -> None:
    store = copied(finished, tmp_path)
    mask = write_mask(tmp_path / "a.png", change(small_masks()["a"]))
    arguments = small_photo.arguments({"a": mask})
    scene, outcomes = reconstruct_photo(build_request(arguments, store), store)

    a, b, c = (o.id for o in scene.objects)
    assert a != finished.objects["a"]
    assert (b, c) == (finished.objects["b"], finished.objects["c"])
    whole_scene = {(stage, SCENE) for stage in ("segment", "crop", "place", "compose")}
    own_chain = {(stage, a) for stage in ("complete", "frame", "generate")}
    assert computed_by(outcomes) == whole_scene | own_chain | {(s, b) for s in chain_of_b}
    assert (occluder_of("001", outcomes) != occluder_of("001", finished.outcomes)) == bool(
        chain_of_b
    )


def occluder_of(number: str, outcomes: list[Outcome]) -> str:
    """The sha256 of an object's occluder mask in its crop."""
    (crop,) = (o.manifest for o in outcomes if o.call.stage == "crop")
    return crop.outputs[f"{number}.occluder"].sha256


def test_a_seed_or_setting_of_one_object_leaves_the_others_alone(
    finished: Run, tmp_path: Path
) -> None:
    store = copied(finished, tmp_path)
    b = finished.objects["b"]
    override = {b: {"settings": {"generate": {"grid": 24}}}}
    request = replace(build_request(finished.arguments, store), overrides=override)
    _, outcomes = reconstruct_inline(request, store, ModelPool("cpu"))
    assert computed_by(outcomes) == {("generate", b), ("place", SCENE), ("compose", SCENE)}


def damage(path: Path, how: str, rng: np.random.Generator) -> None:
    """Harm a file the way disks and crashes do."""
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "flipped":
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2])


def makers(path: Path, outcomes: list[Outcome]) -> Computed:
    """The steps whose result is lost with a file of the store: an artifact or a manifest."""
    return {
        (o.call.stage, o.call.subject)
        for o in outcomes
        if path.stem in {o.call.key, *(a.sha256 for a in o.manifest.outputs.values())}
    }


@pytest.mark.parametrize("how", DAMAGES)
def test_every_damaged_file_is_noticed_and_remade(how: str, finished: Run, tmp_path: Path) -> None:
    root = copied(finished, tmp_path).root
    artifacts, results = bytes_of(root), results_of(root)
    pool, rng = ModelPool("cpu"), np.random.default_rng(7)
    paths = sorted(p for p in root.glob("*/*/*") if p.is_file())
    assert len(paths) == len(artifacts) + len(results)
    for path in paths:
        damage(path, how, rng)
        store = Store(root)
        request = build_request(finished.arguments, store)
        lost = makers(path, finished.outcomes)
        if lost:  # a user's file, and what a call is asked, are put back before any look-up
            with pytest.raises(NotCached):
                cached_scene(request, store)
        scene, outcomes = reconstruct_inline(request, store, pool)
        # Of two steps with the same output, the first one puts it back for both.
        assert computed_by(outcomes) <= lost, path
        assert bool(computed_by(outcomes)) == bool(lost), path
        assert canonical_json(scene_to_json(scene)) == canonical_json(scene_to_json(finished.scene))
        assert digest(path.read_bytes()) == path.stem or path.suffix == ".json", path
    assert Store(root).verify() == []
    assert bytes_of(root) == artifacts
    assert results_of(root) == results


@pytest.mark.parametrize(
    ("how", "stage", "output"),
    [("deleted", "generate", "mesh"), ("flipped", "crop", "001.image"), ("deleted", "place", None)],
)
def test_the_flow_remakes_damaged_files(
    how: str, stage: str, output: str | None, finished: Run, tmp_path: Path
) -> None:
    store = copied(finished, tmp_path)
    before = bytes_of(store.root)
    broken = next(o for o in finished.outcomes if o.call.stage == stage)
    key = broken.call.key
    manifest = store.root / "results" / key[:2] / f"{key}.json"
    path = store.path(broken.manifest.outputs[output]) if output else manifest
    damage(path, how, np.random.default_rng(1))
    scene, outcomes = reconstruct_photo(build_request(finished.arguments, store), store)
    assert computed_by(outcomes) == {(stage, broken.call.subject)}
    assert scene_to_json(scene) == scene_to_json(finished.scene)
    assert bytes_of(store.root) == before
    assert Store(store.root).verify() == []


def test_another_store_holds_the_same_bytes_whoever_runs_the_steps(
    finished: Run, tmp_path: Path
) -> None:
    store = Store(tmp_path / "inline")
    reconstruct_inline(build_request(finished.arguments, store), store, ModelPool("cpu"))
    assert bytes_of(store.root) == bytes_of(finished.root)
    assert results_of(store.root) == results_of(finished.root)


def test_nothing_in_a_store_names_a_place_or_a_machine(finished: Run) -> None:
    for path in finished.root.glob("results/*/*.json"):
        assert str(finished.root).encode() not in path.read_bytes()
    request = canonical_json(
        request_to_json(build_request(finished.arguments, Store(finished.root)))
    )
    assert str(finished.arguments.photo.parent) not in request


class OutOfMemoryError(Exception):
    """Named like torch's, which need not be installed."""


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (MemoryError(), True),
        (ConnectionError("lost"), True),
        (TimeoutError("slow"), True),
        (OutOfMemoryError("2 GB"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("the photo is empty"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_only_passing_failures_are_tried_again(error: Exception, may_pass: bool) -> None:
    from prefect.states import exception_to_failed_state

    from flows.tasks import can_pass, run_step

    state = asyncio.run(exception_to_failed_state(error))
    assert can_pass(run_step, None, state) is may_pass


@pytest.mark.parametrize(("error", "tries"), [(MemoryError, 3), (ValueError, 1)])
def test_prefect_asks_can_pass(error: type[Exception], tries: int, prefect_server: str) -> None:
    from prefect import flow, task

    from flows.tasks import RETRIES, can_pass

    seen = []

    @task(retries=RETRIES, retry_delay_seconds=0, retry_condition_fn=can_pass)
    def fails() -> None:
        seen.append(1)
        raise error("again")

    @flow
    def calls() -> None:
        fails.submit().wait()

    calls(return_state=True)
    assert len(seen) == tries
