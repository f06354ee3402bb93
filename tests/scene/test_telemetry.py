"""No library reports to its maker, and none leaves files for it, whichever way one enters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scene.telemetry import SWITCHES
from support import ROOT

RUN_BOTH_NETWORKS = """
import numpy as np
from stages.generate.lite import Settings, load
from stages.segment.shared.saliency import load_saliency
load_saliency()(np.zeros((64, 64, 3), np.uint8))
network = load(Settings(), "cpu").network
print(network(np.zeros((1, 11, 64, 64), np.float32)).shape)
"""


def _output(code: str, **variables: str) -> str:
    """What a Python process prints that finds none of the switches set."""
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_bundled_networks_leave_no_file(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    shape = _output(RUN_BOTH_NETWORKS, HOME=str(home), TMPDIR=str(temporary))
    assert shape == "(1, 12, 32, 32)"
    assert sorted(tmp_path.rglob("*")) == [home, temporary]


@pytest.mark.parametrize("package", ["stages", "flows", "photoscene"])
def test_each_door_turns_all_of_it_off_and_imports_nothing_heavy(package: str) -> None:
    code = f"import {package}, json, os, sys; print(json.dumps([dict(os.environ), [*sys.modules]]))"
    environment, modules = json.loads(_output(code))
    assert SWITCHES.items() <= environment.items()
    assert not {"onnxruntime", "prefect", "huggingface_hub", "numpy"} & set(modules)


def test_what_a_user_has_set_stays() -> None:
    code = "import stages, os; print(os.environ['DO_NOT_TRACK'])"
    assert _output(code, DO_NOT_TRACK="0") == "0"


@pytest.mark.slow
def test_prefect_and_the_hub_have_understood() -> None:
    code = """
import flows
from huggingface_hub import constants
from prefect.settings import get_current_settings
found = get_current_settings()
print(constants.HF_HUB_DISABLE_TELEMETRY, found.server.analytics_enabled,
      found.cloud.enable_orchestration_telemetry)
"""
    assert _output(code) == "True False False"
