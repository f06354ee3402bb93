"""Is adding a backend, a stage or a step as little as CONTRIBUTING says? Each is really added."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.plan import STAGES
from scene.store import Store
from stages.backends import backend_names
from support import ROOT, TESTS
from support.recipes import STAGE_EDITS, STEP_EDITS
from support.recipes.carried_out import carried_out
from support.small_photo import SmallPhoto

PACKAGES = (
    "scene",
    "alignment",
    "sparse3d",
    "pixal3d",
    "cupid",
    "direct3d_s2",
    "stages",
    "flows",
    "photoscene",
    "configs",
    "weights",
)
DUMMIES = TESTS / "support" / "recipes"
# By recipe: what every file of its list becomes, a text of its own or edits of what is there.
BACKEND = {"stages/tint/dimmed.py": DUMMIES / "backend.py"}
STAGE = {
    "stages/tint/__init__.py": DUMMIES / "stage.py",
    "flows/steps/tint.py": DUMMIES / "stage_step.py",
    "flows/plan.py": STAGE_EDITS,
}
STEP = {"flows/steps/weigh.py": DUMMIES / "step.py", "flows/plan.py": STEP_EDITS}


def listed_files(recipe: str, **names: str) -> list[str]:
    """The files that a recipe of CONTRIBUTING lists, with its capitals replaced."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = re.search(rf"^### {recipe}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, recipe
    files = re.findall(r"^\d+\. `(\S+)`", section[1], re.MULTILINE)
    for capital, name in names.items():
        files = [file.replace(capital, name) for file in files]
    return files


@pytest.mark.parametrize(
    ("recipe", "files", "names"),
    [
        ("A backend", BACKEND, {"STAGE": "tint", "NAME": "dimmed"}),
        ("A stage", STAGE, {"NAME": "tint"}),
        ("A step", STEP, {"NAME": "weigh"}),
    ],
)
def test_a_recipe_lists_every_file(
    recipe: str, files: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """With exactly these files the tests below add it."""
    assert sorted(listed_files(recipe, **names)) == sorted(files)


@pytest.fixture(scope="module")
def added(small_photo: SmallPhoto, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Scenes of a copy of the packages to which stage, backend and step were added: of a profile
    that names none of them, with the stage's backend, and with `none`."""
    copy, store = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("store")
    for package in PACKAGES:
        if package in ("stages", "flows"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, copy / package, ignore=ignored)
        else:
            (copy / package).symlink_to(ROOT / package)
    for files in (STAGE, BACKEND, STEP):
        for name, content in files.items():
            _write(copy / name, content)
    settings = [[], ["tint.backend=dimmed", "tint.brightness=0.4"], ["tint.backend=none"]]
    asked = {
        "photo": str(small_photo.photo),
        "masks": {name: str(path) for name, path in small_photo.masks.items()},
        "depth": str(small_photo.depth),
        "store": str(store),
        "settings": settings,
    }
    command = [sys.executable, "-m", "support.recipes.carried_out", json.dumps(asked)]
    environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{TESTS}"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _write(path: Path, content: Path | Sequence[tuple[str, str]]) -> None:
    """A new file, or a file with each pair's first text, which is there once, replaced."""
    if isinstance(content, Path):
        path.parent.mkdir(exist_ok=True)
        assert not path.exists()
        shutil.copy(content, path)
        return
    text = path.read_text("utf-8")
    for before, after in content:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path.write_text(text, "utf-8")


def test_a_new_stage_and_step_change_nothing_for_an_old_profile(
    added: list[Any], small_photo: SmallPhoto, tmp_path: Path
) -> None:
    old = json.loads(json.dumps(carried_out(small_photo, Store(tmp_path), [])))
    for same in (added[0], added[2]):
        assert same["stages"] == old["stages"] and same["bytes"] == old["bytes"]
        *keys, weighed = same["keys"]
        assert keys == old["keys"] and weighed[0] == "weigh"


def test_a_new_stages_backend_makes_what_comes_after_it(added: list[Any]) -> None:
    plain, tinted, _ = added
    count = len(tinted["meshes"])
    assert tinted["failures"] == [None] * count and count == 3
    assert [stage for stage, _ in tinted["keys"]].count("tint") == count
    assert all(a != b for a, b in zip(plain["meshes"], tinted["meshes"], strict=True))
    assert plain["bytes"][0] != tinted["bytes"][0]


def test_the_pages_example_of_a_backend_is_whole(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that docs/backends.md shows, and nothing else, is found and carries out a scene."""
    page = (ROOT / "docs" / "backends.md").read_text("utf-8")
    name, text = re.findall(
        r"`stages/generate/(\w+)\.py`:\n\n```python\n(.*?)```", page, re.DOTALL
    )[0]
    (tmp_path / f"{name}.py").write_text(text, "utf-8")
    package = importlib.import_module("stages.generate")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert name in backend_names(STAGES["generate"])
    # As in `SmallPhoto.arguments`, whose settings are those of another backend.
    chosen = (f"generate.backend={name}", "generate.fill=0.8")
    found = carried_out(small_photo, Store(tmp_path / "store"), chosen)
    assert found["failures"] == [None] * 3 and len(set(found["meshes"])) == 3
