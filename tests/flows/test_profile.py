"""Profiles and settings: defaults, --set, and one-line errors that name the remedy."""

from pathlib import Path
from typing import Any

import pytest

from flows.plan import STAGES
from flows.profile import load_profile, profile_names, store_of, with_backend, with_setting
from flows.request import StageChoice
from photoscene.cli.errors import store_root
from photoscene.inputs.request import check_backends, check_words
from scene.errors import BadInput
from scene.types import ObjectPrompt
from stages.backends import Backend, Stage, backend_names, find_backend
from support import ROOT
from support.borrowing import settings_of


def test_shipped_profiles_name_real_backends_and_settings() -> None:
    assert "lite" in profile_names()
    for name in profile_names():
        profile = load_profile(name)
        named = [n for n, stage in STAGES.items() if n in profile.stages or not stage.optional]
        assert list(profile.stages) == named
        for stage, choice in profile.stages.items():
            settings_of(stage, choice.backend, choice.settings)


@pytest.mark.parametrize("stage", STAGES)
def test_every_backend_has_the_same_face(stage: str) -> None:
    for name in backend_names(STAGES[stage]):
        backend = find_backend(STAGES[stage], name)
        assert backend.version and callable(backend.load)
        assert settings_of(stage, name, {}) == backend.settings()


def test_set_changes_one_setting_or_the_backend() -> None:
    profile = with_setting(load_profile("lite"), "generate.grid=64")
    assert profile.stages["generate"].settings == {"grid": 64}
    assert with_setting(profile, "complete.backend=passthrough").stages["complete"].backend == (
        "passthrough"
    )
    assert with_backend(profile, "generate", "lite") == profile


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("generate", "STAGE.NAME=VALUE"),
        ("generat.grid=3", "did you mean generate"),
        ("generate.grid=[", "not a YAML value"),
    ],
)
def test_bad_assignments(assignment: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        with_setting(load_profile("lite"), assignment)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gird": 3}, "did you mean grid"),
        ({"grid": "many"}, "expected int"),
        ({"grid": True}, "expected int"),
        ({"depth_ratio": "x"}, "expected float"),
    ],
)
def test_bad_settings(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings_of("generate", "relief", values)


BALLOON = """
from dataclasses import dataclass

from scene.errors import BadInput
from stages.generate import GenerateBackend

@dataclass(frozen=True)
class Settings:
    strength: float = 0.5

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise BadInput(f"strength: expected 0 to 1, got {self.strength:g}")

def load(settings, device):
    return settings

BACKEND = GenerateBackend(version="7", settings=Settings, load=load)
"""


def test_a_backend_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the stage's folder is found, checked and usable; nothing else changes."""
    import stages.generate

    (tmp_path / "balloon.py").write_text(BALLOON)
    monkeypatch.setattr(stages.generate, "__path__", [*stages.generate.__path__, str(tmp_path)])
    profile = with_setting(load_profile("lite"), "generate.backend=balloon")
    choice = with_setting(profile, "generate.strength=1e-1").stages["generate"]
    assert "balloon" in backend_names(STAGES["generate"])
    assert find_backend(STAGES["generate"], "balloon").version == "7"
    assert settings_of("generate", choice.backend, choice.settings).strength == 0.1
    with pytest.raises(ValueError, match="generate.strength: expected 0 to 1, got 3"):
        settings_of("generate", "balloon", {"strength": 3})


def test_words_need_a_backend_that_knows_them() -> None:
    grabcut = with_setting(load_profile("lite"), "segment.backend=grabcut")
    with pytest.raises(ValueError, match="does not know words; give --point"):
        check_words(grabcut, (ObjectPrompt(text="cup"),))
    check_words(grabcut, (ObjectPrompt(text="cup", box=(0, 0, 9, 9)),))


def test_a_backend_that_knows_some_words_refuses_others_at_once() -> None:
    check_words(load_profile("lite"), (ObjectPrompt(text="mugs"),))
    check_words(load_profile("lite"), (ObjectPrompt(text="teapot", box=(0, 0, 9, 9)),))
    with pytest.raises(ValueError, match="--text 'teapot': segment backend lite knows 80 words"):
        check_words(load_profile("lite"), (ObjectPrompt(text="teapot"),))


def test_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="passthrough"):
        find_backend(STAGES["complete"], "../masks")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "mapping"),
        ("segment: grabcut", "backend"),
        ("colour: {backend: x}", "unknown stage"),
        ("segment: {backend: masks}", "no entry for"),
        ("a: [", "profile"),
    ],
)
def test_broken_profile_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load_profile(str(path))
    assert "\n" not in str(caught.value)


def test_a_profile_may_name_its_store_which_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "configs" / "lite.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(f"store: s3://bucket/store\n{text}")
    assert load_profile(str(path)).stages == load_profile("lite").stages
    assert (store_of(str(path)), store_of("lite")) == ("s3://bucket/store", "")
    assert store_root(None, str(path)) == "s3://bucket/store"
    assert store_root(str(tmp_path), str(path)) == str(tmp_path)
    monkeypatch.setenv("PHOTOSCENE_STORE", "gs://other")
    assert store_root(None, str(path)) == "gs://other"
    path.write_text(f"store: [1]\n{text}")
    with pytest.raises(BadInput, match="mine.yaml: store: expected a folder, or a URL"):
        load_profile(str(path))


def test_unknown_profile_lists_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match="lite"):
        load_profile("light")


@pytest.fixture
def optional_stage(monkeypatch: pytest.MonkeyPatch) -> str:
    """A stage that a profile may leave out."""
    stage = Stage[Backend[Any, Any]]("tint", Backend, version="1", optional=True)
    monkeypatch.setitem(STAGES, stage.name, stage)
    return stage.name


def test_an_optional_stage_is_left_out_by_saying_nothing_or_none(
    optional_stage: str, tmp_path: Path
) -> None:
    plain = load_profile("lite")
    assert optional_stage not in plain.stages
    path = tmp_path / "lite.yaml"
    text = (ROOT / "configs" / "lite.yaml").read_text("utf-8")
    path.write_text(f"{text}\n{optional_stage}: {{backend: none}}\n")
    assert load_profile(str(path)) == plain
    chosen = with_setting(plain, f"{optional_stage}.backend=dimmed")
    assert chosen.stages[optional_stage] == StageChoice("dimmed")
    assert with_setting(chosen, f"{optional_stage}.backend=none") == plain


def test_a_stage_that_is_left_out_has_no_settings(optional_stage: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tint is left out: --set tint\.backend=NAME first"):
        with_setting(load_profile("lite"), f"{optional_stage}.brightness=1")
    path = tmp_path / "mine.yaml"
    path.write_text(f"{optional_stage}: {{backend: none, brightness: 1}}\n")
    with pytest.raises(ValueError, match="mine.yaml: tint: backend none has no settings"):
        load_profile(str(path))


def test_none_is_no_backend_of_a_stage_that_is_needed() -> None:
    profile = with_setting(load_profile("lite"), "generate.backend=none")
    with pytest.raises(ValueError, match="unknown backend 'none' for generate"):
        check_backends(profile)
