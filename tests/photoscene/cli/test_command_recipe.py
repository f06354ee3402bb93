"""Does the recipe of CONTRIBUTING for a new command work as it stands, in the files it names?"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from photoscene.cli import main
from scene.scene_json import scene_to_json
from scene.types import Artifact, Scene, SceneObject
from support import ROOT
from support.small_photo import call

FILE, OPTIONS = "photoscene/cli/NAME.py", "photoscene/cli/main.py"


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command of the recipe, added to the app for one test."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    recipe = text.split("### A command")[1].split("\n#")[0]
    assert re.findall(r"^\d\. `(\S+)`", recipe, re.MULTILINE) == [FILE, OPTIONS]
    work, options = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    module = ModuleType("photoscene.cli.count")
    exec(work, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    registered = list(main.app.registered_commands)
    space = ModuleType("photoscene.cli.main_with_count")
    vars(space).update({k: v for k, v in vars(main).items() if not k.startswith("__")})
    monkeypatch.setitem(sys.modules, space.__name__, space)
    exec(f"from __future__ import annotations\n{options}", vars(space))
    yield
    main.app.registered_commands[:] = registered


def test_the_recipes_command_works(count: None, tmp_path: Path) -> None:
    mask = Artifact("mask", "0" * 64, ".png")
    scene = Scene(mask, objects=(SceneObject("a", "", "a", mask), SceneObject("b", "", "b", mask)))
    (tmp_path / "scene.json").write_text(json.dumps(scene_to_json(scene)))
    assert call("count", tmp_path).stdout == "2 objects\n"
    assert json.loads(call("count", tmp_path, "--json").stdout) == {"objects": 2}
    assert "--debug" in call("count", "--help").stdout
    refused = call("count", tmp_path / "elsewhere")
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
    assert "count" in call("--help").stdout
