"""Profile `full`, whole: all official adapters on tiny random checkpoints, cached and resumed."""

from __future__ import annotations

import gc
import json
import logging
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

WHY = "the libraries of profile full: pip install -e '.[full]'"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("transformers", reason=WHY)
pytest.importorskip("diffusers", reason=WHY)
pytest.importorskip("moge", reason="pip install --no-deps -r moge-requirements.txt")

from flows.profile import load_profile  # noqa: E402
from flows.request import StageChoice  # noqa: E402
from photoscene.self_test.tiny_moge import write_moge  # noqa: E402
from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint  # noqa: E402
from photoscene.self_test.tiny_qwen import save_tiny_qwen  # noqa: E402
from photoscene.self_test.tiny_sam import save_sam3  # noqa: E402
from scene.cameras import camera_from_fov  # noqa: E402
from scene.types import Crop, CropCamera, ObjectCrop, ObjectPrompt, Photo, Point  # noqa: E402
from stages import map_points, segment  # noqa: E402
from stages.devices import LazyModel, ModelPool  # noqa: E402
from support.borrowing import borrowed  # noqa: E402
from support.small_photo import call, small_masks, small_rgb  # noqa: E402

# Random weights with which one of two objects hides a part of the other.
SAM_SEED, MOGE_SEED = 6, 2
# Little work; random masks of any score are objects, two of them.
QUICK = {
    "segment.threshold": 0, "segment.max_objects": 2, "complete.steps": 2, "complete.side_px": 64,
    "complete.tries": 2, "complete.min_contact": 0, "generate.resolution": 1024,
    "generate.steps": 1, "generate.texture_px": 64, "generate.faces": 200,
    "finish.backend": "none",  # tests of the stage itself are slow ones
}  # fmt: skip
LICENCE = ("--licence", "CC0 1.0")
HEAVY = ("segment", "map_points", "complete", "generate")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder per stage, each as its official repository is laid out."""
    root = tmp_path_factory.mktemp("weights")
    return {
        "segment": save_sam3(root / "sam3", SAM_SEED),
        "map_points": write_moge(root / "moge", seed=MOGE_SEED),
        "complete": save_tiny_qwen(root / "qwen"),
        "generate": write_tiny_checkpoint(root / "pixal3d"),
    }


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(file), small_rgb(small_masks())[..., ::-1])
    return file


def options(weights: Mapping[str, Path], profile: str = "full") -> list[str]:
    values = {**{f"{stage}.weights": folder for stage, folder in weights.items()}, **QUICK}
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    return ["--profile", profile, "--device", "cpu", *sets]


@dataclass(frozen=True)
class Done:
    """A run folder with its store, what the command printed as JSON, and the log."""

    folder: Path
    told: dict[str, Any]
    log: list[str]

    @property
    def store(self) -> Path:
        return self.folder.parent / "store"

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())


@contextmanager
def hearing() -> Iterator[list[str]]:
    """The lines that stages log meanwhile."""
    heard, logger = Lines(), logging.getLogger("stages")
    before = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        yield heard.lines
    finally:
        logger.removeHandler(heard)
        logger.setLevel(before)


class Lines(logging.Handler):
    """Keeps what is logged, whichever thread logs it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def done(
    weights: dict[str, Path],
    photo: Path,
    prefect_server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Done]:
    """One run of the whole chain from words."""
    folder = tmp_path_factory.mktemp("full") / "run"
    where = ("-o", folder, "--store", folder.parent / "store", "--json")
    with hearing() as lines:
        result = call("run", photo, "--text", "cup", *LICENCE, *options(weights), *where)
    assert result.exit_code in (0, 1), result.output  # random meshes may fit nothing
    yield Done(folder, json.loads(result.stdout), lines)


def test_words_become_a_scene_by_the_official_adapters(done: Done) -> None:
    assert [o["name"] for o in done.told["objects"]] == ["cup", "cup_2"]
    assert all(o["failure"] is None for o in done.told["objects"])
    assert (done.folder / "scene.glb").stat().st_size > 1000
    backends = {step["stage"]: step["backend"] for step in done.record["steps"]}
    assert [backends[stage] for stage in HEAVY] == ["sam3", "moge", "qwen_edit", "pixal3d"]
    assert done.told["notes"][0].startswith("MoGe-2")


def test_the_editor_drew_what_is_hidden_and_was_judged(done: Done) -> None:
    """Random weights draw noise: a real edit was made, and refused for what it is."""
    assert any("steps at 64 px" in line for line in done.log)
    assert any("edits were rejected" in note for note in done.told["notes"])


def test_every_model_was_read_once(done: Done) -> None:
    reads = [line.split(" read in ")[0] for line in done.log if " read in " in line]
    assert len(reads) == len(set(reads)) and {"SAM 3", "MoGe", "Qwen-Image-Edit"} < set(reads)
    assert sum("flow" in name for name in reads) == 4


def test_the_same_again_computes_nothing(done: Done, weights: dict[str, Path], photo: Path) -> None:
    where = ("-o", done.folder, "--store", done.store, "--json")
    again = call("run", photo, "--text", "cup", *LICENCE, *options(weights), *where)
    assert json.loads(again.stdout)["steps_computed"] == 0


def test_how_memory_is_used_changes_no_result(
    done: Done, weights: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    alone = [part for s in HEAVY for part in ("--set", f"{s}.memory=one_at_a_time")]
    where = ("-o", tmp_path / "run", "--store", done.store, "--json")
    again = call("run", photo, "--text", "cup", *options(weights), *alone, *where)
    assert json.loads(again.stdout)["steps_computed"] == 0


def test_the_record_names_every_weight_and_no_folder(done: Done, weights: dict[str, Path]) -> None:
    text = (done.folder / "scene.json").read_text("utf-8")
    asset = json.loads(text)["asset"]
    assert asset["photo"]["licence"] == "CC0 1.0"
    assert not any(str(folder) in text for folder in weights.values())
    used = {stage: [w for w in asset["weights"] if stage in w["stages"]] for stage in HEAVY}
    assert [w["name"] for w in used["segment"]] == ["sam3"]
    assert [w["name"] for w in used["map_points"]] == ["moge-2-vitl-normal"]
    assert {w["name"] for w in used["complete"]} >= {"qwen-image-edit-2511"}
    assert [w["name"] for w in used["generate"]] == ["pixal3d"]
    digests = {step["weights"] for step in done.record["steps"]} - {""}
    assert {w["sha256"] for w in asset["weights"]} == digests and len(digests) == len(HEAVY)
    for weight in asset["weights"]:
        # These were read from folders of one's own: nobody knows that they are the pinned ones.
        assert weight["revision"] is None and "own" in weight["source"] and weight["licence"]


@pytest.mark.slow
def test_one_object_is_resumed_from_completion(done: Done) -> None:
    where = ("--store", done.store, "--device", "cpu", "--json")
    result = call("rerun", done.folder, "--object", "1", "--from", "generate", *where)
    assert result.exit_code in (0, 1), result.output
    computed = {(s["stage"], s["subject"]) for s in done.record["steps"] if s["computed"]}
    first = done.told["objects"][0]["id"]
    assert ("generate", first) in computed
    assert {subject for _, subject in computed} <= {first, "scene"}
    assert not {stage for stage, _ in computed} & {"segment", "map_points", "complete"}


# What each stage is asked, alone.
RGB = small_rgb(small_masks())


def ask_segment(backend: Any) -> None:
    clicks = (ObjectPrompt(points=(Point(60, 95),)),)
    segment.run(backend, Photo(RGB), clicks, ())


def ask_map_points(backend: Any) -> None:
    map_points.run(backend, Photo(RGB), None, (), None)


def ask_complete(backend: Any) -> None:
    visible = np.zeros((96, 96), bool)
    visible[20:70, 10:50] = True
    occluder = np.zeros((96, 96), bool)
    occluder[20:70, 50:80] = True
    rgb = np.random.default_rng(0).integers(0, 255, (96, 96, 3))
    rgba = np.dstack([rgb, visible * 255]).astype(np.uint8)
    camera = CropCamera(camera_from_fov(96, 96, 0.6), np.eye(3))
    backend.complete(Crop(rgba, occluder, camera, ("box",)), "egg", 1)


def ask_generate(backend: Any) -> None:
    rgba = np.zeros((96, 96, 4), np.uint8)
    rgba[10:86, 10:86] = (200, 80, 40, 255)
    camera = CropCamera(camera_from_fov(96, 96, 0.6), np.eye(3))
    backend.generate(ObjectCrop(rgba, np.full((96, 96), np.nan, np.float32), camera), 1)


ASK = {"segment": ask_segment, "map_points": ask_map_points, "complete": ask_complete,
       "generate": ask_generate}  # fmt: skip


def choice(stage: str, weights: Mapping[str, Path], profile: str, memory: str) -> StageChoice:
    chosen = load_profile(profile).stages[stage]
    quick = {n.split(".")[1]: v for n, v in QUICK.items() if n.startswith(f"{stage}.")}
    given = {**chosen.settings, **quick, "weights": str(weights[stage]), "memory": memory}
    return StageChoice(chosen.backend, given)


def modules_alive() -> int:
    """Parameters of all networks that anything still holds."""
    gc.collect()
    return sum(isinstance(o, torch.nn.Parameter) for o in gc.get_objects())


def watch(backend: Any) -> list[weakref.ref]:
    """Weak references to every network that a backend holds, however deep."""
    pools = [v for v in vars(backend).values() if isinstance(v, LazyModel)]
    networks = [p.get() for p in pools]
    return [weakref.ref(module) for n in networks for module in _modules(n)]


def _modules(value: Any, depth: int = 0) -> list[Any]:
    if isinstance(value, torch.nn.Module):
        return [value]
    if depth > 3 or not hasattr(value, "__dict__"):
        return []
    return [m for v in vars(value).values() for m in _modules(v, depth + 1)]


@pytest.mark.slow
def test_models_of_different_stages_are_never_in_memory_together(weights: dict[str, Path]) -> None:
    """Under one_at_a_time: when a stage's model is there, the networks of the others are gone."""
    pool, before = ModelPool("cpu"), modules_alive()
    seen: dict[str, list[weakref.ref]] = {}
    for stage in (*HEAVY, "segment"):
        chosen = choice(stage, weights, "full", "one_at_a_time")
        with borrowed(pool, stage, chosen.backend, chosen.settings) as backend:
            ASK[stage](backend)
            gc.collect()
            for other, references in seen.items():
                if other != stage:
                    assert all(reference() is None for reference in references), (stage, other)
            seen[stage] = watch(backend)
            assert seen[stage] or stage == "generate"  # whose networks come and go one by one
        del backend
    assert modules_alive() > before
    chosen = choice("generate", weights, "full", "one_at_a_time")
    with borrowed(pool, "generate", chosen.backend, chosen.settings):
        assert modules_alive() == before  # all others let go before it was lent


@pytest.mark.slow
def test_a_second_photo_reads_no_model_again(weights: dict[str, Path]) -> None:
    pool = ModelPool("cpu")

    def ask_all() -> list[str]:
        with hearing() as lines:
            for stage in HEAVY:
                chosen = choice(stage, weights, "full", "keep")
                with borrowed(pool, stage, chosen.backend, chosen.settings) as backend:
                    ASK[stage](backend)
        return [line for line in lines if " read in " in line]

    assert len(ask_all()) == 3 + 9  # and Pixal3D's nine networks
    assert ask_all() == []
