"""What outsiders and their machines run is what the README says, and it works in a fresh clone."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
STEPS = ["make demo", "make test"]
PYTHONS = ["3.11", "3.12", "3.13"]
# What package clients and the network need; nothing of this project and nothing of Prefect.
KEPT = re.compile(r"(PIP|UV|NPM|npm)_.*|.*_(proxy|PROXY)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE")


def job() -> dict[str, Any]:
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["test"]


def runs() -> list[str]:
    """The `run:` steps, in order."""
    return [step["run"] for step in job()["steps"] if "run" in step]


def test_the_workflow_runs_the_two_commands_of_the_readme() -> None:
    assert runs() == STEPS
    readme = (ROOT / "README.md").read_text("utf-8")
    start = readme.split("## Start", 1)[1].split("```")[1].splitlines()
    assert [line.split("#")[0].strip() for line in start[1:] if line] == STEPS


def test_the_workflow_covers_the_supported_systems_and_pythons() -> None:
    assert job()["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest"],
        "python": PYTHONS,
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"
    spoken = f"Python {', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}"
    for page in ("README.md", "CONTRIBUTING.md"):
        assert spoken in (ROOT / page).read_text("utf-8")


def test_actions_are_pinned_by_major_version() -> None:
    used = [step["uses"] for step in job()["steps"] if "uses" in step]
    assert len(used) == 2 and all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)


def test_ci_begins_with_the_steps_of_the_workflow() -> None:
    """Nothing is installed before them, so a step that hides cannot help them."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    commands = re.findall(r"^(?:timed |wanted )(.+)$", script, re.MULTILINE)
    assert commands[: len(STEPS)] == STEPS


def test_pre_commit_runs_the_ruff_of_the_project() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (ruff,) = [p for p in project["optional-dependencies"]["dev"] if p.startswith("ruff")]
    assert ruff == f"ruff=={repo['rev'].removeprefix('v')}"
    assert ruff in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [hook["id"] for hook in repo["hooks"]] == ["ruff-check", "ruff-format"]


def pages() -> list[Path]:
    folders = [f for name in ("docs", "benchmarks") for f in sorted((ROOT / name).rglob("*.md"))]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *folders]


def test_the_make_targets_that_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = {
        target
        for page in pages()
        for target in re.findall(
            r"(?:`|^)make ([a-z][\w-]+)", page.read_text("utf-8"), re.MULTILINE
        )
    }
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """What is committed, as an outsider gets it, in a folder with nothing beside it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "photoscene"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
        yield target


def bare_environment(home: Path) -> dict[str, str]:
    """An account that was made today: this Python first on the path, an empty home."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    settings = Path.home() / ".config" / "pip" / "pip.conf"
    if settings.exists():
        kept["PIP_CONFIG_FILE"] = str(settings)
    path = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    return {**kept, "HOME": str(home), "PATH": path}


@pytest.mark.slow
@pytest.mark.parametrize("step", runs())
def test_a_step_of_the_workflow_passes_in_a_fresh_clone(step: str, clone: Path) -> None:
    """Line for line and in order. Of the suite, which runs beside this, one file is enough here."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    environment = bare_environment(home) | {"PYTEST_ADDOPTS": "-k test_house"}
    done = subprocess.run(
        ["bash", "-c", step], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    said = done.stdout + done.stderr
    if step == "make demo":
        assert (clone / "runs" / "breakfast" / "scene.glb").exists()
    else:
        assert "All checks passed!" in said and "0 errors" in said
        assert re.search(r"\d+ passed", said), said[-2000:]
