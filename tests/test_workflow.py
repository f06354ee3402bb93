"""What outsiders and their machines run is what the README says; `.ci/run` carries it out."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from support import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
STEPS = ["make demo", "make test"]
PYTHONS = ["3.11", "3.12", "3.13"]


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
    """In an account with an empty home; nothing is installed before them that could help them."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    commands = re.findall(r"^(?:timed |wanted )(.+)$", script, re.MULTILINE)
    assert commands[: len(STEPS)] == [f"outsider {step}" for step in STEPS]
    assert 'outsider() { env -i HOME="$home" ' in script


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
