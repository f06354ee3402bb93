"""What does a run make of a scene, what did each stage cost, and how far is it from the truth?"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.predicted import Predicted, read_predicted
from benchmarks.score_scene import Truth
from benchmarks.score_scene import score as score_scene
from flows.calls import Outcome, StageCall
from flows.compute import produce
from flows.failures import failed
from flows.plan import StageFailed, carry_out, plan_scene
from photoscene.inputs.request import Arguments, build_request
from scene.store import Store
from scene.types import Float64, Scene
from stages.devices import ModelPool

LEVEL_DEG = 5.0  # within which a scene counts as upright


Figures = dict[str, Any]
Cases = dict[str, list[Figures]]  # of every scene, by what is compared


@dataclass(frozen=True, eq=False)
class Run:
    """A scene as far as it came, and the CPU seconds of what was computed for it, by step."""

    scene: Scene | None
    cpu_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Workshop:
    """Where the runs of one scene keep what they have in common."""

    store: Store
    folder: Path
    pool: ModelPool


@cache
def models() -> ModelPool:
    """This process's, kept from scene to scene."""
    return ModelPool()


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A store that is gone afterwards; the models stay."""
    with tempfile.TemporaryDirectory() as folder:
        yield Workshop(Store(Path(folder) / "store"), Path(folder), models())


def of_each(figures_of: Callable[[Path], Mapping[str, Figures]], folders: Sequence[Path]) -> Cases:
    """Every scene's figures by case, computed on all cores; figures_of: a module's function."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        found = list(pool.map(figures_of, folders))
    return {case: [figures[case] for figures in found] for case in found[0]}


def with_settings(arguments: Arguments, *settings: str) -> Arguments:
    """The same arguments with other backends or settings, as `--set` takes them."""
    return replace(arguments, settings=(*arguments.settings, *settings))


def run_scene(arguments: Arguments, at: Workshop) -> Run:
    """A run in this process, one call after the other; no scene where no object was found."""
    cpu_s: dict[str, float] = {}

    def carried_out(call: StageCall) -> Outcome:
        began = time.process_time()
        try:
            outcome = produce(call, at.store, at.pool)
        except Exception as error:
            outcome = failed(call, error)
        if outcome.computed:
            cpu_s[call.stage] = cpu_s.get(call.stage, 0.0) + time.process_time() - began
        return outcome

    plan = plan_scene(build_request(arguments, at.store), at.store)
    try:
        scene, _ = carry_out(plan, lambda calls: [carried_out(call) for call in calls])
    except StageFailed:
        return Run(None, cpu_s)
    return Run(scene, cpu_s)


def scored(run: Run, truth: Truth, at: Workshop) -> Figures:
    """The scorer's means over the scene's objects, and the errors of its camera and upright."""
    predicted: list[Predicted] = []
    if run.scene is not None and run.scene.glb is not None:
        glb = at.folder / "scene.glb"
        glb.write_bytes(at.store.read(run.scene.glb))
        predicted = read_predicted(glb, "gltf")
    return {**score_scene(predicted, truth)["mean"], **camera_errors(run.scene, truth)}


def camera_errors(scene: Scene | None, truth: Truth) -> dict[str, float]:
    """fov: |log| of the ratio of focal lengths; tilt_deg: angle between its upright and the truth;
    level: whether that is small. An upright that is not known counts as the camera's own."""
    if scene is None or scene.camera is None:
        return {}
    known, camera = truth.known, scene.camera
    focal = camera.fx_px / camera.width / (known.camera.fx_px / known.camera.width)
    turned = scene.world_from_camera
    up = np.array([0.0, -1.0, 0.0]) if turned is None else turned[2, :3]
    tilt_deg = math.degrees(angle(up, known.world_from_camera[2, :3]))
    return {"fov": abs(math.log(focal)), "tilt_deg": tilt_deg, "level": tilt_deg <= LEVEL_DEG}


def angle(a: Float64, b: Float64) -> float:
    """Between two directions (3,), radians."""
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def mean_of(rows: Sequence[Figures], figure: str, how: Callable[..., Any] = np.mean) -> str:
    """The mean of a figure over the rows that have it, as a table shows it."""
    there = [float(row[figure]) for row in rows if row.get(figure) is not None]
    return f"{float(how(there)):.3f}" if there else "-"
