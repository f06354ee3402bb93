"""`doctor --self-test`: it passes on a CPU, and names what is wrong where something is."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="networks: pip install -e '.[pixal3d]'")
pytest.importorskip("safetensors", reason="networks: pip install -e '.[pixal3d]'")

from photoscene.self_test import PARTS, Finding, carried_out  # noqa: E402
from photoscene.self_test.bench import Bench, Part, Wrong  # noqa: E402
from stages.devices import NetworkPool  # noqa: E402
from support.small_photo import call  # noqa: E402

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A folder for tiny weights, and those that are written already; nothing else is shared."""
    return tmp_path_factory.mktemp("weights"), {}


def found(part: str, written: tuple[Path, dict[str, Path]]) -> Finding:
    (chosen,) = (p for p in PARTS if p.name == part)
    return carried_out(chosen, Bench("cpu", *written))


# What goes wrong.


def lend(change: Callable[[Any], Any]) -> Patch:
    """A pool whose visiting networks are changed."""
    original = NetworkPool._visiting

    @contextmanager
    def visiting(pool: NetworkPool, name: str) -> Iterator[Any]:
        with original(pool, name) as network:
            yield change(network)

    return lambda patch: patch.setattr(NetworkPool, "_visiting", visiting)


def left_on_another_device(patch: pytest.MonkeyPatch) -> None:
    original = NetworkPool._bring
    patch.setattr(NetworkPool, "_bring", lambda pool, name: original(pool, name).to("meta"))


def set_to(name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(name, value)


def in_half(name: str, change: Callable[[Any], Any], type_of: Callable[..., Any]) -> Patch:
    """A function or method whose results are changed where it computes in half precision."""

    def inject(patch: pytest.MonkeyPatch) -> None:
        module, _, attribute = name.rpartition(".")
        original = getattr(_resolved(module), attribute)

        def changed(*given: Any, **named: Any) -> Any:
            made = original(*given, **named)
            return made if type_of(*given) == torch.float32 else change(made)

        patch.setattr(name, changed)

    return inject


def _resolved(name: str) -> Any:
    """A module, or a class of one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


kept: list[Any] = []
NETWORKS, MEMORY = "Pixal3D networks", "out of memory"
FAULTS: dict[str, tuple[str, Patch, str]] = {
    "wrong type": (
        NETWORKS,
        set_to("pixal3d.generation.computing_type", lambda runtime, device: torch.float32),
        "keep: structure_flow: .* is float32, expected bfloat16",
    ),
    "another type under one policy": (
        NETWORKS,
        lend(lambda network: network.float()),
        "one_at_a_time: structure_flow: .* is float32, expected bfloat16",
    ),
    "wrong device": (
        NETWORKS, left_on_another_device, "keep: image_encoder: .* is on meta, expected cpu"
    ),
    "forgotten offload": (
        NETWORKS,
        lend(lambda network: kept.append(network) or network),
        "one_at_a_time: image_encoder, .* stayed in main memory after the loan",
    ),
    "unrecognised lack of memory": (
        MEMORY,
        set_to("stages.devices.is_out_of_memory", lambda error: False),
        "lack of memory is not recognised",
    ),
    "nothing freed": (
        MEMORY,
        set_to("stages.devices.ModelPool.release", lambda pool: None),
        "nothing was freed before the second try",
    ),
    "wrong attention": (
        "arithmetic",
        in_half(
            "torch.nn.functional.scaled_dot_product_attention",
            lambda made: 1.3 * made,
            lambda q, *_: q.dtype,
        ),
        "attention in torch.float16 differs",
    ),
    "wrong convolution": (
        "sparse convolution",
        in_half(
            "sparse3d.sparse_conv.convolve_pairs", lambda made: made.flip(0), lambda f, *_: f.dtype
        ),
        "sparse convolution in torch.float16 differs",
    ),
    "a flow that overflows": (
        "Pixal3D shape_flow_512",
        in_half(
            "pixal3d.flow.Flow.forward",
            lambda made: made.fill_(float("inf")),
            lambda flow, *_: flow.body_dtype,
        ),
        "the latents has 5120 of 5120 values that are not finite",
    ),
    "a decoder that loses digits": (
        "Pixal3D structure_decoder",
        in_half(
            "sparse3d.structure_vae.StructureDecoder.forward",
            lambda made: made.round(),
            lambda decoder, *_: decoder.body_dtype,
        ),
        "what is decoded differs from the CPU's",
    ),
    "latents that lose digits": (
        "CUPID networks",
        in_half(
            "cupid.latent_flow.LatentFlow.forward",
            lambda made: made.round(),
            lambda flow, *_: flow.body_dtype,
        ),
        "latent_flow differs from the CPU's",
    ),
    "an encoder in float32": (
        "SAM 3 by words",
        set_to("stages.segment.sam3.networks.uses_bfloat16", lambda precision, device: False),
        "the image encoder: .* is float32, expected bfloat16",
    ),
    "an encoder left elsewhere": (
        "SAM 2.1",
        set_to("stages.segment.sam2.put_on", lambda network, device: network.to("meta")),
        "the image encoder: .* is on meta, expected cpu",
    ),
    "a map left elsewhere": (
        "MoGe-2",
        set_to("stages.map_points.moge.put_on", lambda network, device: network.to("meta")),
        "MoGe: .* is on meta, expected cpu",
    ),
    "an editor in half": (
        "Qwen-Image-Edit, offload none",
        set_to(
            "stages.complete.qwen_edit.pipeline.place_pipeline",
            lambda pipeline, device, offload: pipeline.to(torch.float16),
        ),
        "the editor's .* is torch.float16, expected torch.float32",
    ),
}  # fmt: skip
SLOW = ("SAM", "MoGe", "Qwen", "CUPID")  # large libraries and pictures


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=[pytest.mark.slow] if part.startswith(SLOW) else [])
        for name, (part, _, _) in FAULTS.items()
    ],
)
def test_a_fault_is_named_by_its_part(
    fault: str, written: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, inject, says = FAULTS[fault]
    _skip_without_libraries(part)
    inject(monkeypatch)
    finding = found(part, written)
    kept.clear()
    assert finding.state == "cannot work" and "\n" not in finding.detail
    assert re.search(says, finding.detail), finding.detail


@pytest.mark.parametrize("part", [NETWORKS, MEMORY, "arithmetic", "sparse convolution"])
def test_without_a_fault_these_parts_work(part: str, written: tuple[Path, dict[str, Path]]) -> None:
    assert found(part, written).state == "works"


def _skip_without_libraries(part: str) -> None:
    (chosen,) = (p for p in PARTS if p.name == part)
    for name, remedy in chosen.needs.items():
        pytest.importorskip(name, reason=remedy)


def test_a_library_that_is_missing_is_one_line(
    written: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "moge" else find(n))
    finding = found("MoGe-2", written)
    assert finding.state == "not run"
    assert finding.detail.startswith("needs moge: pip install --no-deps -r moge-requirements.txt")


def fail(bench: Bench) -> str:
    raise Wrong("the sum is wrong")


def crash(bench: Bench) -> str:
    return {}["name"]


@pytest.mark.parametrize(("checks", "status"), [((fail, crash), 3), ((lambda bench: "fine",), 0)])
def test_the_command_has_a_line_for_each_part(
    checks: tuple[Callable[[Bench], str], ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are tried, whatever fails; status 3 where something cannot work."""
    parts = tuple(Part(f"part {n}", {}, check) for n, check in enumerate(checks))
    parts = (*parts, Part("another", {"no_such_library": "pip install it"}, fail))
    monkeypatch.setattr("photoscene.self_test.PARTS", parts)
    result = call("doctor", "--self-test", "--device", "cpu")
    assert result.exit_code == status and len(result.stdout.splitlines()) == 1 + len(parts)
    assert "another  not run: needs no_such_library: pip install it" in result.stdout
    told = json.loads(call("doctor", "--self-test", "--device", "cpu", "--json").stdout)
    details = [(p["part"], p["state"], p["detail"]) for p in told["parts"]]
    if status:
        assert details[0] == ("part 0", "cannot work", "the sum is wrong")
        assert details[1] == ("part 1", "cannot work", "KeyError: 'name'")
    else:
        assert details[0] == ("part 0", "works", "fine")


def test_a_device_that_is_not_there_is_no_self_test() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    result = call("doctor", "--self-test", "--device", "cuda")
    assert result.exit_code == 3 and "torch finds no such device" in result.stderr


@pytest.mark.slow
def test_every_part_works_on_a_cpu() -> None:
    result = call("doctor", "--self-test", "--device", "cpu", "--json")
    parts = {p["part"]: p for p in json.loads(result.stdout)["parts"]}
    assert list(parts) == [p.name for p in PARTS] and result.exit_code == 0, result.output
    for part in PARTS:
        lacking = [name for name in part.needs if importlib.util.find_spec(name) is None]
        assert parts[part.name]["state"] == ("not run" if lacking else "works")
