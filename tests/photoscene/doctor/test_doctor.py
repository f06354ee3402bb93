"""`photoscene doctor`: what lacks, what mends it, and what fits into a device's memory."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from flows.plan import STAGES
from photoscene.doctor.backends import backend_state
from photoscene.doctor.device import torch_state
from photoscene.doctor.libraries import installed_libraries
from photoscene.doctor.memory import Need, needed_gb, profile_gb
from photoscene.doctor.profiles import profile_states
from photoscene.doctor.text import diagnosis_table
from stages.backends import Backend, find_backend
from stages.model_record import matching
from stages.model_table import known_model, model_table
from stages.weights import models_folder
from support.borrowing import settings_of
from support.small_photo import call

HEAVY = {"full", "full_low_vram"}


@pytest.fixture(autouse=True)
def without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no model yet."""
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    result = call("doctor", "--store", tmp_path / "store", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    """As if these modules were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name in hidden else find(name, *more),
    )


def put_weights(name: str) -> None:
    """Empty files with the names of a model's."""
    entry = known_model(name)
    for pattern in entry.files:
        file = models_folder() / entry.repo / pattern.replace("*", "x")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_without_weights_the_full_profiles_say_what_brings_them(found: dict[str, Any]) -> None:
    assert found["profiles"]["lite"]["runs"] and HEAVY < set(found["profiles"])
    for name in HEAVY:
        profile = found["profiles"][name]
        assert not profile["runs"]
        gaps = {gap["what"]: gap["remedy"] for gap in profile["lacks"]}
        pull = f"photoscene models pull --profile {name}"
        assert gaps["the weights sam3 (3.44 GB)"] == gaps["the weights pixal3d (14.3 GB)"] == pull
        assert all(gaps.values())


def test_weights_that_are_here_lack_no_more(tmp_path: Path) -> None:
    for name in ("sam3", "moge-2-vitl-normal", "pixal3d"):
        put_weights(name)
    lacks = profile_states(["full"], [], None)["full"]["lacks"]
    assert not any("weights sam3" in gap["what"] or "pixal3d" in gap["what"] for gap in lacks)
    state = backend_state(STAGES["segment"], "sam3", {})
    assert state["models"][0]["folder"] == str(models_folder() / "facebook" / "sam3")


def test_what_weights_do_not_make_is_said_until_they_do(found: dict[str, Any]) -> None:
    """Direct3D-S2 without a back-projection's layers, which are public nowhere."""
    limit = "without back_projection.safetensors, which is nowhere public, its meshes are canonical"
    assert limit in diagnosis_table(found)
    for name, folder in (("direct3d-s2", "v-1-1"), ("direct3d-s2-v1.0", "v-1-0")):
        put_weights(name)
        values = {"model": name}
        state = backend_state(STAGES["generate"], "direct3d_s2", values)
        assert [text.startswith(limit) for text in state["limits"]] == [True]
        home = models_folder() / "wushuang98/Direct3D-S2" / f"direct3d-s2-{folder}"
        (home / "back_projection.safetensors").touch()
        assert backend_state(STAGES["generate"], "direct3d_s2", values)["limits"] == []


def test_libraries_that_lack_are_named_with_their_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide(monkeypatch, "torch", "transformers", "moge", "open3d")
    result = call("doctor", "--store", tmp_path / "store", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["torch"]["version"] is None and found["libraries"]["torch"]["remedy"]
    gaps = {g["what"]: g["remedy"] for g in found["backends"]["segment"]["sam3"]["lacks"]}
    assert gaps["the library transformers"].endswith(
        "pip install -e '.[full]' in photoscene's folder"
    )
    gaps = {g["what"]: g["remedy"] for g in found["backends"]["map_points"]["moge"]["lacks"]}
    assert "--no-deps -r moge-requirements.txt" in gaps["the library moge"]
    gaps = {g["what"]: g["remedy"] for g in found["backends"]["place"]["icp"]["lacks"]}
    assert "'.[benchmark]'" in gaps["the library open3d"]
    text = diagnosis_table(found)
    assert "torch: not installed (profile lite needs none)" in text


def test_spconv_has_a_package_for_each_version_of_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The extra names the one for CPUs; what is installed is found under either name."""
    hide(monkeypatch, "spconv")
    assert "'.[spconv]'" in installed_libraries()["spconv"]["remedy"]
    assert "pip install spconv-cuXXX" in installed_libraries(on_cuda=True)["spconv"]["remedy"]
    monkeypatch.undo()
    for part in ("spconv/__init__.py", "spconv_cu126-2.3.8.dist-info/METADATA"):
        (tmp_path / part).parent.mkdir()
        (tmp_path / part).write_text("Name: spconv-cu126\nVersion: 2.3.8\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    found = installed_libraries(on_cuda=True)["spconv"]
    assert found == {"version": "2.3.8 (spconv-cu126)", "remedy": ""}


def test_torch_and_torchvision(found: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="its state is told: pip install -e '.[pixal3d]'")
    state = found["torch"]
    assert state == torch_state()
    assert state["version"] == torch.__version__
    assert state["torchvision"] in ("native", "schemas", "absent")
    assert state["build"] == (f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU")
    assert len(state["devices"]) == (torch.cuda.device_count() if state["cuda"] else 0)
    assert all(0 < d["total_gb"] for d in state["devices"])


def test_a_backend_or_setting_that_does_not_exist_is_a_gap() -> None:
    unknown = backend_state(STAGES["segment"], "none", {})
    assert unknown["lacks"][0]["what"] == "the segment backend none"
    wrong = backend_state(STAGES["generate"], "pixal3d", {"resolution": 5})
    assert "generate.resolution" in wrong["lacks"][0]["what"]
    own = backend_state(STAGES["generate"], "pixal3d", {"weights": "nowhere"})
    assert [gap["what"] for gap in own["lacks"] if "folder" in gap["what"]] == [
        "the folder nowhere"
    ]
    assert own["models"] == []


def test_backends_without_constants_need_nothing() -> None:
    backend = find_backend(STAGES["place"], "pixel_aligned")
    assert backend.libraries == {}
    assert backend.models_read(settings_of("place", "pixel_aligned", {})) == ()


def test_models_follow_the_settings() -> None:
    def of(**values: Any) -> tuple[str, ...]:
        settings = settings_of("map_points", "moge", values)
        return find_backend(STAGES["map_points"], "moge").models_read(settings)

    assert of() == ("moge-2-vitl-normal",)
    assert of(model="moge-vitl") == ("moge-vitl",)
    assert of(model="moge-vitl", weights="somewhere") == ()


@dataclass(frozen=True)
class Ways:
    """Settings as backends have them."""

    resolution: Literal[1024, 1536] = 1024
    offload: Literal["none", "model"] = "none"
    memory: Literal["keep", "one_at_a_time"] = "keep"


MEMORY = {
    "1024": 18.0, "1024, one_at_a_time": 12.0, "1536": 40.0, "bfloat16, 1024, offload model": 9.0
}  # fmt: skip


@pytest.mark.parametrize(
    ("ways", "gigabytes"),
    [
        (Ways(), 18),
        (Ways(memory="one_at_a_time"), 12),
        (Ways(resolution=1536), 40),
        (Ways(resolution=1536, memory="one_at_a_time"), 40),
        (Ways(offload="model"), 9),
    ],
)
def test_memory_is_that_of_the_way_of_running(ways: Ways, gigabytes: float) -> None:
    entry = replace(next(iter(model_table().values())), memory_gb=MEMORY)
    assert needed_gb(entry, ways) == gigabytes
    assert needed_gb(replace(entry, memory_gb={}), ways) is None
    only = replace(entry, memory_gb={"1536, offload model": 7.0, "1536": 8.0})
    assert needed_gb(only, Ways()) == 8  # nothing is stated of 1024: the most


def test_one_model_works_while_the_kept_ones_rest() -> None:
    needs = {"segment": Need(4.0, 3.0), "complete": Need(44.0, 0.0), "generate": Need(40.0, 14.0)}
    assert profile_gb(needs) == (61.0, ("complete", "segment", "generate"))
    assert profile_gb({}) == (0.0, ())


def test_models_rest_on_the_device_only_when_they_are_kept_there() -> None:
    backend = Backend(
        version="1",
        settings=Ways,
        load=lambda settings, device: settings,
        memory=lambda settings: settings.memory,
        offload=lambda settings: settings.offload,
    )
    assert not backend.leaves_device(Ways())
    assert backend.leaves_device(Ways(memory="one_at_a_time"))
    assert backend.leaves_device(Ways(offload="model"))


def test_a_device_that_is_too_small_is_told_with_what_fits(found: dict[str, Any]) -> None:
    needs = {n: found["profiles"][n]["memory"]["needed_gb"] for n in HEAVY}
    assert 0 < needs["full_low_vram"] < needs["full"]
    between = needs["full_low_vram"] + 1
    states = profile_states(["full", "full_low_vram", "lite"], [], between)
    gap = states["full"]["lacks"][-1]
    assert gap["what"] == f"{needs['full']:g} GB of device memory (there are {between:g})"
    assert gap["remedy"] == "photoscene run --profile full_low_vram"
    assert states["full"]["memory"]["fits"] is False
    assert states["full_low_vram"]["memory"]["fits"] is True
    assert states["lite"]["memory"]["fits"] is None and states["lite"]["runs"]
    tiny = profile_states(["full", "lite"], [], 1.0)["full"]["lacks"][-1]
    assert tiny["remedy"] == "photoscene run --profile lite"
    large = profile_states(["full"], [], 1000.0)["full"]["memory"]
    assert large["fits"] is True and large["device_gb"] == 1000


def test_the_text_names_every_gap_once(found: dict[str, Any]) -> None:
    text = diagnosis_table(found)
    for name, profile in found["profiles"].items():
        assert f"{name:<24} {'runs here' if profile['runs'] else 'cannot run here'}" in text
        assert all(gap["remedy"] in text for gap in profile["lacks"])
    assert "sam3           lacks the weights sam3 (3.44 GB): photoscene models pull sam3" in text
    devices = [{"name": "GPU", "total_gb": 85.0, "free_gb": 80.5}]
    torch = {**found["torch"], "version": "2.13", "build": "CUDA 13.0", "cuda": True,
             "devices": devices, "torchvision": "native", "problem": ""}  # fmt: skip
    profiles = profile_states(list(found["profiles"]), [], 85.0)
    text = diagnosis_table({**found, "torch": torch, "profiles": profiles})
    assert "cuda:0 GPU, 85 GB, 80.5 GB of it free" in text
    assert "fits into 85 GB" in text


def test_no_pattern_of_the_table_is_beyond_matching() -> None:
    """Each pattern means one folder's files, for `pull` as for those who look for them."""
    for entry in model_table().values():
        assert all("**" not in p and "[" not in p for p in entry.files)
        names = [pattern.replace("*", "x") for pattern in entry.files]
        assert matching(names, entry.files) == names
