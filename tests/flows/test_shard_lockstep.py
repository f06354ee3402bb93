"""Many objects through one model's networks: each is read once, and the bytes stay the same."""

from __future__ import annotations

import collections
import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from support import BACKENDS

torch = pytest.importorskip("torch", reason="networks: pip install -e '.[pixal3d]'")

from flows import shard  # noqa: E402
from flows.calls import Outcome, StageCall  # noqa: E402
from flows.request import Request  # noqa: E402
from flows.shard import Observer, SceneRun, reconstruct_scenes  # noqa: E402
from photoscene.inputs.request import Arguments, build_request  # noqa: E402
from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint  # noqa: E402
from scene.store import Store  # noqa: E402
from stages import generate  # noqa: E402
from stages.devices import ModelPool  # noqa: E402
from support.small_photo import SmallPhoto  # noqa: E402

NETWORKS = ("encoder", "upsampler", "coarse", "decoder", "fine", "colour")


@pytest.fixture
def cascaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The backend `cascaded` (tests/support/backends), whose watch begins anew."""
    monkeypatch.setattr(generate, "__path__", [*generate.__path__, str(BACKENDS)])
    module = importlib.import_module("stages.generate.cascaded")
    monkeypatch.setattr(module, "watch", module.Watch())
    yield module


def requests_for(
    small_photo: SmallPhoto, store: Store, *settings: str, masks: Sequence[str] = ("ab", "c", "bc")
) -> list[Request]:
    """Scenes with these masks, up to their meshes."""
    arguments = [
        Arguments(small_photo.photo, masks=tuple(small_photo.masks[name] for name in names),
                  point_map=small_photo.depth, settings=("generate.backend=cascaded", *settings),
                  seed=seed)
        for seed, names in enumerate(masks)
    ]  # fmt: skip
    return [dataclasses.replace(build_request(a, store), until="generate") for a in arguments]


def meshes(runs: Sequence[SceneRun]) -> list[list[str]]:
    """Every object's mesh, or why it has none."""
    scenes = [run.scene for run in runs]
    assert all(scene is not None for scene in scenes)
    return [
        [o.mesh.sha256 if o.mesh else str(o.failure) for o in scene.objects]
        for scene in scenes
        if scene is not None
    ]


def test_each_network_is_read_once_and_lends_the_same_bytes(
    cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    kept, alone = Store(tmp_path / "kept"), Store(tmp_path / "alone")
    keep = requests_for(small_photo, kept, "generate.memory=keep")
    expected = meshes(reconstruct_scenes(keep, kept, ModelPool()))
    cascaded.watch.reads.clear()
    cascaded.watch.loans.clear()
    runs = reconstruct_scenes(requests_for(small_photo, alone), alone, ModelPool())
    assert meshes(runs) == expected and len({m for mesh in expected for m in mesh}) == 5
    assert sorted(cascaded.watch.reads) == sorted(NETWORKS)
    phases = [("encoder",), ("upsampler", "coarse"), ("decoder",), ("upsampler", "fine"),
              ("decoder", "colour")]  # fmt: skip
    order = [network for phase in phases for _ in range(5) for network in phase]
    assert [network for network, _ in cascaded.watch.loans] == order


def test_a_large_lockstep_is_divided(
    cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "MAX_LOCKSTEP", 2)
    store = Store(tmp_path)
    reconstruct_scenes(requests_for(small_photo, store), store, ModelPool())
    assert set(collections.Counter(cascaded.watch.reads).values()) == {3}  # 2 + 2 + 1 objects


def test_two_equal_calls_are_computed_once(
    cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    (one,) = requests_for(small_photo, store, masks=("ab",))
    first, second = reconstruct_scenes([one, one], store, ModelPool())
    assert meshes([first]) == meshes([second])
    assert len(cascaded.watch.loans) == 2 * len(cascaded.ORDER)


@pytest.mark.parametrize(
    ("trouble", "made"),
    [("thin", ["generate: too thin"]), ("memory", ["generate: out of memory at a box"])],
)
def test_an_object_that_fails_leaves_and_the_others_go_on(
    trouble: str, made: list[str], cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    store, cause = Store(tmp_path / "store"), tmp_path / "cause"
    cause.touch()
    requests = requests_for(small_photo, store)
    settings = (f"generate.trouble={trouble}", f"generate.cause={cause}")
    requests[1] = requests_for(small_photo, store, *settings, masks=("c",))[0]
    runs = reconstruct_scenes(requests, store, ModelPool())
    first, failed, last = meshes(runs)
    assert len(first) == len(last) == 2 and all(len(mesh) == 64 for mesh in (*first, *last))
    assert failed[0].startswith(made[0])
    again = 3 if trouble == "memory" else 1  # alone, when the others have ended; and once more
    reads = collections.Counter(cascaded.watch.reads)
    assert (reads["encoder"], reads["fine"], reads["colour"]) == (again, again, 1)


def test_out_of_memory_for_what_others_hold_passes(
    cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    """The object is made when the others have left."""
    store, cause = Store(tmp_path / "store"), tmp_path / "cause"
    cause.touch()
    ended: list[Outcome] = []

    def step_ended(run: SceneRun, outcome: Outcome) -> None:
        if outcome.call.stage == "generate":
            ended.append(outcome)
            cause.unlink(missing_ok=True)

    settings = ("generate.trouble=memory", f"generate.cause={cause}")
    requests = requests_for(small_photo, store, *settings, masks=("a",))
    requests += requests_for(small_photo, store)
    runs = reconstruct_scenes(
        requests, store, ModelPool(), observer=Observer(step_ended=step_ended)
    )
    assert all(len(mesh) == 64 for scene in meshes(runs) for mesh in scene)
    assert ended[-1].call.seed == next(o for o in runs[0].outcomes if o is ended[-1]).call.seed


def test_one_object_at_a_time_is_worked_on_and_observers_know_which(
    cascaded: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    under_way: dict[tuple[int, str], None] = {}
    most: list[int] = []

    def began(run: SceneRun, call: StageCall) -> None:
        under_way[run.index, call.subject] = None

    def paused(run: SceneRun, call: StageCall) -> None:
        del under_way[run.index, call.subject]

    observer = Observer(began, lambda run, outcome: paused(run, outcome.call), paused)
    cascaded.watch.work = lambda crop: most.append(len(under_way))
    store = Store(tmp_path)
    reconstruct_scenes(requests_for(small_photo, store), store, ModelPool(), observer=observer)
    assert not under_way and len(most) == 5 * len(cascaded.ORDER)
    last = 4 * len(("decoder", "colour"))  # of four objects, while the one before is published
    assert set(most[:-last]) == {1}


@pytest.mark.slow
def test_pixal3d_reads_each_of_its_files_once(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pixal3d.generation

    reads: list[str] = []
    load_network = pixal3d.generation.load_network

    def counted(source: object, *where: object) -> torch.nn.Module:
        reads.append(str(source.file))  # type: ignore[attr-defined]
        return load_network(source, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(pixal3d.generation, "load_network", counted)
    weights = write_tiny_checkpoint(tmp_path / "weights")
    made = {}
    for memory in ("keep", "one_at_a_time"):
        reads.clear()
        store = Store(tmp_path / memory)
        settings = ("backend=pixal3d", f"weights={weights}", f"memory={memory}", "steps=1",
                    "texture_px=64", "faces=200")  # fmt: skip
        generate_settings = [f"generate.{setting}" for setting in settings]
        requests = requests_for(small_photo, store, *generate_settings, masks=("a", "c"))
        made[memory] = meshes(reconstruct_scenes(requests, store, ModelPool()))
        assert len(reads) == len(set(reads)) == 9
    assert made["keep"] == made["one_at_a_time"]
    assert all(len(mesh) == 64 for scene in made["keep"] for mesh in scene)
