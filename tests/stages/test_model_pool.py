"""Models in memory: shared by what loading depends on, within a budget, gone when released."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from support import BACKENDS

torch = pytest.importorskip("torch", reason="networks: pip install -e '.[pixal3d]'")

from flows.calls import Outcome, StageCall  # noqa: E402
from flows.compute import produce  # noqa: E402
from flows.plan import STAGES, carry_out, plan_scene  # noqa: E402
from flows.profile import load_profile  # noqa: E402
from flows.tasks import Submitted  # noqa: E402
from photoscene.inputs.request import Arguments, build_request  # noqa: E402
from scene.store import Store  # noqa: E402
from stages.backends import backend_names, find_backend  # noqa: E402
from stages.device_memory import (  # noqa: E402
    default_budget_bytes,
    is_out_of_memory,
    main_memory_bytes,
    measured,
    network_bytes,
)
from stages.devices import (  # noqa: E402
    MAX_IDLE_MODELS,
    LazyModel,
    ModelPool,
    OutOfDeviceMemory,
)
from stages.loans import after_the_loan  # noqa: E402
from support.borrowing import borrowed, settings_of  # noqa: E402
from support.small_photo import SmallPhoto  # noqa: E402

HEAVY = ("map_points", "complete", "generate")
ONE = 40_000  # bytes of a `heavy` backend's weights


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The backend `heavy` (tests/support/backends) in three stages; what is watched begins anew."""
    modules = []
    for stage in HEAVY:
        package = importlib.import_module(f"stages.{stage}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(BACKENDS)])
        modules.append(importlib.import_module(f"stages.{stage}.heavy"))
    watch = modules[0].Watch()
    for module in modules:
        monkeypatch.setattr(module, "watch", watch)
    yield modules[-1]


def use(pool: ModelPool, stage: str = "generate", **settings: Any) -> int:
    with borrowed(pool, stage, "heavy", settings) as model:
        return model.work()


# Shared by what loading depends on


def test_calls_share_weights_whatever_their_own_settings(heavy: ModuleType) -> None:
    pool = ModelPool()
    assert [use(pool, resolution=side) for side in (512, 1024, 512)] == [512, 1024, 512]
    assert heavy.watch.reads == ["float32"]


@pytest.mark.parametrize("other", [{"weights": "elsewhere"}, {"precision": "float64"}])
def test_other_weights_or_precision_are_another_model(
    heavy: ModuleType, other: dict[str, str]
) -> None:
    pool = ModelPool()
    use(pool)
    use(pool, **other)
    assert len(heavy.watch.reads) == 2 and len(heavy.watch.alive) == 2


def test_two_threads_share_one_copy_and_see_their_own_settings(heavy: ModuleType) -> None:
    pool, both = ModelPool(), threading.Barrier(2, timeout=60)

    def ask(resolution: int) -> list[int]:
        seen = []
        with borrowed(pool, "generate", "heavy", {"resolution": resolution}) as model:
            for _ in range(200):
                both.wait()
                seen.append(model.work())
        return seen

    with ThreadPoolExecutor(2) as threads:
        assert [set(seen) for seen in threads.map(ask, (512, 1024))] == [{512}, {1024}]
    assert heavy.watch.reads == ["float32"]


def test_a_backend_that_names_nothing_is_shared_by_equal_settings_only() -> None:
    pool = ModelPool()

    def lent(settings: dict[str, Any]) -> Any:
        with borrowed(pool, "generate", "relief", settings) as model:
            return model

    grid = settings_of("generate", "relief", {}).grid
    assert lent({}) is lent({"grid": grid}) is not lent({"grid": grid // 2})


LOADERS = [
    (stage.name, name)
    for stage in STAGES.values()
    for name in backend_names(stage)
    if find_backend(stage, name).loading is not None
]


def test_every_backend_with_weights_says_what_loading_depends_on() -> None:
    names = {"sam3", "sam2", "grabcut", "moge", "qwen_edit", "pixal3d", "lite"}
    assert names <= {name for _, name in LOADERS}


@pytest.mark.parametrize(("stage", "name"), LOADERS, ids=lambda value: value)
def test_loading_reads_exactly_the_settings_that_it_names(
    stage: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other setting can change, and what was loaded stays right."""
    pytest.importorskip("transformers", reason="pip install -e '.[full]'")
    backend = find_backend(STAGES[stage], name)
    index = {"_class_name": "QwenImageEditPlusPipeline"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    seen: set[str] = set()

    class Observed(backend.settings):
        def __getattribute__(self, attribute: str) -> Any:
            if attribute in backend.settings.__dataclass_fields__:
                seen.add(attribute)
            return super().__getattribute__(attribute)

    given = {"weights": str(tmp_path)} if "weights" in backend.loading else {}
    settings = Observed(**given)
    seen.clear()  # of its own checks
    model = backend.load(settings, "cpu")
    assert seen == set(backend.loading)
    assert {f.name: f.type for f in dataclasses.fields(model)}["settings"] == "Settings"
    own = backend.settings(**given)
    other = dataclasses.replace(model, settings=own)
    assert type(other) is type(model) and other.settings is own


def test_a_pool_loads_with_those_settings_alone(
    heavy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    spied = dataclasses.replace(
        heavy.BACKEND, load=lambda s, device: loaded.append(s) or heavy.load(s, device)
    )
    monkeypatch.setattr(heavy, "BACKEND", spied)
    use(ModelPool(), resolution=7, weights="here", precision="float64")
    assert loaded == [heavy.Settings(weights="here", precision="float64")]


# Within a budget


def test_the_least_recently_used_lets_go_first(heavy: ModuleType) -> None:
    pool = ModelPool(budget_bytes=2 * ONE)
    for weights in ("a", "b", "a", "c", "a", "b"):
        use(pool, weights=weights)
        assert pool.held_bytes == heavy.watch.bytes <= 2 * ONE
    assert [read.split()[0] for read in heavy.watch.reads] == ["a", "b", "c", "b"]
    assert heavy.watch.most_bytes == 2 * ONE  # room was made before reading


def test_one_that_is_larger_than_any_before_is_in_budget_once_it_is_measured(
    heavy: ModuleType,
) -> None:
    pool = ModelPool(budget_bytes=2 * ONE)
    use(pool, weights="a")
    with borrowed(pool, "generate", "heavy", {"precision": "float64"}) as model:
        model.network.get()
        assert pool.held_bytes == heavy.watch.bytes == 2 * ONE  # "a" is gone before the work begins
    assert heavy.watch.most_bytes == 3 * ONE


def test_what_is_lent_is_never_released(heavy: ModuleType) -> None:
    pool = ModelPool(budget_bytes=ONE)
    with borrowed(pool, "generate", "heavy", {"weights": "a"}) as lent:
        lent.work()
        network = lent.network.get()
        use(pool, weights="b")
        pool.release()
        assert lent.network.get() is network
    assert [read.split()[0] for read in heavy.watch.reads] == ["a", "b"]
    del network
    use(pool, weights="b")
    assert len(heavy.watch.alive) == 1


def test_a_model_larger_than_the_budget_works_alone(heavy: ModuleType) -> None:
    pool = ModelPool(budget_bytes=ONE // 2)
    assert use(pool, resolution=300) == use(pool, resolution=300) == 300
    assert len(heavy.watch.reads) == 2 and pool.held_bytes == 0


def test_one_at_a_time_are_never_together_and_the_others_stay(heavy: ModuleType) -> None:
    pool, alone = ModelPool(), {"memory": "one_at_a_time"}
    use(pool, weights="kept")
    use(pool, "complete", weights="a", **alone)
    use(pool, "generate", weights="b", **alone)
    use(pool, "complete", weights="a", **alone)
    alive = ["kept float32", "a float32", "b float32", "a float32"]
    assert heavy.watch.reads == alive and heavy.watch.most_alive == 2
    use(pool, weights="kept", **alone)  # how memory is used reads nothing anew
    assert heavy.watch.reads == alive and len(heavy.watch.alive) == 1


def test_models_that_wait_are_forgotten_in_the_end() -> None:
    pool = ModelPool()
    for grid in range(16, 16 + 3 * MAX_IDLE_MODELS):
        with borrowed(pool, "generate", "relief", {"grid": grid}):
            pass
    assert len(pool._entries) == MAX_IDLE_MODELS


def test_fifty_scenes_of_three_profiles_hold_no_more_than_the_budget(
    heavy: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    """Eight models (a precision or a folder makes another), of which three or four fit."""
    profiles = (
        ("generate.resolution=512",),
        ("generate.resolution=1024", "generate.precision=float16", "complete.weights=other"),
        ("generate.weights=other", "complete.precision=float16", "map_points.weights=other"),
    )
    pool, store = ModelPool(budget_bytes=3 * ONE), Store(tmp_path / "store")

    def run(calls: list[StageCall]) -> list[Outcome]:
        return [produce(call, store, pool, call.stage in HEAVY) for call in calls]

    after: list[tuple[int, int, int]] = []
    for number in range(50):
        chosen = (*(f"{stage}.backend=heavy" for stage in HEAVY), *profiles[number % 3])
        arguments = Arguments(
            small_photo.photo, masks=(small_photo.masks["a"],), settings=chosen, seed=number
        )
        request = dataclasses.replace(build_request(arguments, store), until="generate")
        scene, _ = carry_out(plan_scene(request, store), run)
        assert [o.failure for o in scene.objects] == [None]
        assert pool.held_bytes == heavy.watch.bytes
        if number == 2:
            gc.freeze()  # releasing collects: what was imported need not be walked every time
        after.append((pool.held_bytes, len(heavy.watch.alive), len(pool._entries)))
    assert heavy.watch.most_bytes == 3 * ONE  # at every moment
    assert after[6:] == after[3:-3]  # flat from the second round on
    assert after[-1][2] == 8 + 1  # and the backend of the masks, which holds nothing


# Out of memory

ALLOCATION_FAILURES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `x`"),
    Exception(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
        "Conv node. Status Message: bfc_arena.cc:376 Failed to allocate memory for requested "
        "buffer of size 285081600"
    ),
    Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
]
OTHER_FAILURES = [
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ValueError("the depth file cannot be read (CUDA out of memory)"),
    OSError(28, "No space left on device"),
    OutOfDeviceMemory("out of memory at resolution 1536, also after freeing what could be"),
]


@pytest.mark.parametrize("error", ALLOCATION_FAILURES, ids=lambda e: str(e)[:60])
def test_what_says_that_memory_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHER_FAILURES, ids=lambda e: str(e)[:60])
def test_what_does_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.zeros(10**15),
        lambda: np.zeros(10**15),
        lambda: cv2.resize(np.zeros((4, 4), np.uint8), (2**20, 2**20)),
    ],
    ids=["torch", "numpy", "OpenCV"],
)
def test_libraries_say_so_on_this_machine(work: Any) -> None:
    with pytest.raises(Exception) as caught:
        work()
    assert is_out_of_memory(caught.value)


def test_everything_idle_goes_before_the_second_try(heavy: ModuleType) -> None:
    """And the error, however long it is kept, keeps no network."""
    pool = ModelPool()
    use(pool, "complete")
    idle = weakref.ref(next(iter(heavy.watch.alive)))
    with pytest.raises(OutOfDeviceMemory, match="resolution 20: lower it|resolution 20,") as caught:
        use(pool, resolution=20, enough_for=10)
    assert idle() is None and len(heavy.watch.alive) == 1
    pool.release()
    assert caught.value.__traceback__ is not None and len(heavy.watch.alive) == 0


def test_an_error_that_is_kept_keeps_no_network(heavy: ModuleType) -> None:
    def fail(network: torch.nn.Module) -> None:
        raise KeyError(str(network))

    pool = ModelPool()
    with pytest.raises(KeyError) as caught, borrowed(pool, "generate", "heavy", {}) as model:
        fail(model.network.get())
    pool.release()
    assert caught.value is not None and len(heavy.watch.alive) == 0


@pytest.mark.parametrize(
    ("lower", "reads"),
    [
        ("{resolution: 512}", []),
        ("{resolution: 512, memory: one_at_a_time}", []),
        ("{resolution: 512, precision: float16}", ["float16"]),
    ],
)
def test_a_lowered_call_never_has_two_generators_in_memory(
    lower: str, reads: list[str], heavy: ModuleType, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    """Three objects side by side in the flow's own steps; a lowered resolution reads nothing."""
    pool, store = ModelPool(), Store(tmp_path / "store")
    settings = ("backend=heavy", "resolution=1024", "enough_for=1000", f"on_out_of_memory={lower}")
    arguments = dataclasses.replace(
        small_photo.arguments(), settings=tuple(f"generate.{s}" for s in settings)
    )
    request = dataclasses.replace(build_request(arguments, store), until="generate")
    with ThreadPoolExecutor(3) as threads:

        def run(calls: list[StageCall]) -> list[Outcome]:
            futures = [InThread(threads.submit(produce, call, store, pool)) for call in calls]
            waiting = [Submitted(c, f) for c, f in zip(calls, futures, strict=True)]  # type: ignore[arg-type]
            return [call.outcome() for call in waiting]

        scene, _ = carry_out(plan_scene(request, store), run)
    assert [o.failure for o in scene.objects] == [None] * 3
    assert sum("made with" in note and "resolution 512" in note for note in scene.notes) == 3
    assert heavy.watch.most_alive == 1
    # Each of the three reads the weights anew after freeing; nothing else reads the same again.
    assert heavy.watch.reads == ["float32"] * 4 + reads


@pytest.mark.parametrize("profile", ["full", "full_low_vram"])
def test_the_lowered_settings_of_a_profile_read_no_second_model(profile: str) -> None:
    """What is tried after out of memory is another call of the same loaded model."""
    for stage, choice in load_profile(profile).stages.items():
        backend = find_backend(STAGES[stage], choice.backend)
        lowered = {**choice.settings, **choice.on_out_of_memory}
        first, lower = (settings_of(stage, choice.backend, s) for s in (choice.settings, lowered))
        assert backend.loading_values(lower) == backend.loading_values(first)
        assert (stage == "generate" and profile == "full") == (lower != first)


@dataclasses.dataclass(frozen=True)
class InThread:
    """A step under way in a thread; answers as Prefect's future does."""

    future: Future[Outcome]

    def result(self, raise_on_failure: bool) -> Outcome | BaseException:
        return self.future.exception() or self.future.result()


# Sizes


def test_a_size_is_that_of_the_networks_inside() -> None:
    class Pipeline:
        def __init__(self) -> None:
            self.encoder = torch.nn.Linear(10, 10, bias=False)
            self.decoder = torch.nn.BatchNorm1d(10)
            self.shared = torch.nn.Sequential(self.encoder)

    parts = 4 * (100 + 10 + 10 + 10 + 10) + 8  # weight, bias, mean, variance; a count in int64
    assert network_bytes(Pipeline()) == parts
    assert measured(Pipeline, "cpu")[1] == parts


def test_what_has_no_networks_is_as_large_as_the_process_grows() -> None:
    megabytes = 64
    if not Path("/proc/self/statm").is_file():
        pytest.skip("only Linux tells")
    array, size = measured(lambda: np.ones(megabytes * 2**20, np.uint8), "cpu")
    assert array.nbytes * 0.9 < size < array.nbytes * 2


def test_a_lazy_model_says_what_it_holds_and_lets_go() -> None:
    lazy = LazyModel("one", lambda: torch.nn.Linear(10, 10, bias=False), "cpu")
    assert lazy.held_bytes == 0
    network = weakref.ref(lazy.get())
    assert lazy.held_bytes == 400
    lazy.release()
    gc.collect()
    assert lazy.held_bytes == 0 and network() is None


def test_the_default_budget_is_a_part_of_the_main_memory() -> None:
    assert default_budget_bytes("cpu") == int(0.8 * main_memory_bytes())
    assert ModelPool().budget_bytes == default_budget_bytes("cpu")
    assert ModelPool(budget_bytes=5).budget_bytes == 5


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/jobs/one", {"jobs/one/memory.max": "max", "jobs/memory.max": "3000"}, 3000),
        ("0::/../host/path", {"memory.max": "2000\n"}, 2000),
        (
            "5:cpu:/\n4:memory:/x",
            {
                "memory/x/memory.limit_in_bytes": "1000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            1000,
        ),
        ("0::/", {}, None),
    ],
    ids=["version 2", "container", "version 1", "none"],
)
def test_a_control_group_limits_main_memory(
    membership: str, limits: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": membership, **limits}.items():
        file = tmp_path / name if name.startswith("proc/") else tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = main_memory_bytes(tmp_path / "proc", tmp_path / "cgroup")
    assert found == (expected or main_memory_bytes(tmp_path / "nowhere"))


def test_what_is_left_for_the_cpu_lets_the_next_call_have_the_device(heavy: ModuleType) -> None:
    """A call's loan ends when it says so; one that says so meanwhile keeps the device."""
    pool, finishing, free = ModelPool("cuda", budget_bytes=1 << 30), [], threading.Event()
    order: list[str] = []

    def call(name: str, wait: threading.Event | None) -> None:
        with borrowed(pool, "generate", "heavy", {}):
            order.append(f"{name} on the device")
            with after_the_loan():
                finishing.append(name)
                if wait is not None:
                    assert wait.wait(30)
                order.append(f"{name} finished")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(call, "first", free)
        while not finishing:
            assert not first.done()
        second = threads.submit(call, "second", None)
        while "second on the device" not in order:
            assert not second.done()
        assert finishing == ["first"] and pool._working.locked()
        free.set()
        first.result(30), second.result(30)
    assert order[2:] == ["first finished", "second finished"]
    assert not pool._working.locked() and not any(e.lent for e in pool._entries.values())


def test_nothing_ends_early_on_a_cpu_or_without_a_loan(heavy: ModuleType) -> None:
    pool = ModelPool()
    with after_the_loan(), borrowed(pool, "generate", "heavy", {}), after_the_loan():
        assert [e.lent for e in pool._entries.values()] == [1]
