"""What makes containers of photoscene: are its files whole, and do their commands exist?"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT
from support.extras import program

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.32"  # whose schema the manifests have to fit


def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's instructions by stage, each with those of the stage that it begins with."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = [*found.get(image, [])]
        elif word.isupper():
            found[name].append((word, " ".join(rest.split())))
    return found


def documents(path: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_is_not_roots_and_tells_its_health(target: str) -> None:
    instructions = stages()[target]
    last = dict(instructions)
    assert last["USER"] == "1000" and '"doctor"' in last["HEALTHCHECK"]
    assert json.loads(last["VOLUME"]) == ["/models", "/store", "/scenes"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = re.findall(r"'\.\[(.*?)\]'", str(instructions))
    extras = {extra for group in installed for extra in group.split(",")}
    assert extras and extras <= project["project"]["optional-dependencies"].keys()


def test_what_is_installed_is_in_the_context_of_the_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert {*packages, "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_services_have_what_they_need() -> None:
    services = COMPOSE["services"]
    assert {"database", "store", "prefect", "pool", "worker", "batch"} == services.keys()
    for service in services.values():
        assert service["image"].partition(":")[2] not in ("", "latest")
        assert services.keys() >= service.get("depends_on", {}).keys()
    (identity,) = json.loads((ROOT / "deploy" / "s3.json").read_text())["identities"]
    (account,) = identity["credentials"]
    environment = services["worker"]["environment"]
    keys = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    assert keys == (account["accessKey"], account["secretKey"])
    assert environment["PHOTOSCENE_STORE"].startswith("s3://")


def test_kubernetes_lists_all_manifests_and_runs_the_commands_of_compose() -> None:
    (listed,) = documents(ROOT / "deploy" / "kubernetes" / "kustomization.yaml")
    apart = {"kustomization.yaml", "batch.yaml"}
    assert {p.name for p in MANIFESTS} - apart == {*listed["resources"]}
    pods = [d["spec"]["template"]["spec"] for p in MANIFESTS for d in documents(p)
            if d["kind"] in ("Deployment", "StatefulSet", "Job")]  # fmt: skip
    ours = [(pod, c) for pod in pods for c in (*pod["containers"], *pod.get("initContainers", []))
            if c["image"].startswith("photoscene:")]  # fmt: skip
    assert len(ours) == 4 and all(pod["securityContext"]["runAsNonRoot"] for pod, _ in ours)
    commands = [c["command"] for _, c in ours]
    for name in ("prefect", "pool", "worker"):
        assert COMPOSE["services"][name]["command"] in commands
    secrets = documents(ROOT / "deploy" / "kubernetes" / "secrets.yaml")
    environment = COMPOSE["services"]["worker"]["environment"]
    assert secrets[0]["stringData"] == environment


@pytest.mark.extra("kubernetes")
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_fit_the_schema_of_kubernetes(path: Path) -> None:
    import kubernetes_validate  # pyright: ignore[reportMissingImports]

    for document in documents(path):
        if document["kind"] != "Kustomization":  # a file of kubectl, which no server takes
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.extra("hadolint")
def test_hadolint_has_nothing_to_say() -> None:
    hadolint = program("hadolint")
    assert hadolint
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
