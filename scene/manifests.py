"""What a store keeps of a result: its manifest, the record of it, and how files are named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scene.keys import canonical_json, digest
from scene.types import Artifact

ARTIFACTS, RESULTS = "artifacts", "results"
SHA256, SUFFIX = re.compile("[0-9a-f]{64}"), re.compile(r"(\.[a-z0-9]{1,8})?")
ARTIFACT_NAME = re.compile(rf"{ARTIFACTS}/[0-9a-f]{{2}}/([0-9a-f]{{64}})(\.[a-z0-9]{{1,8}})?")
RESULT_NAME = re.compile(rf"{RESULTS}/[0-9a-f]{{2}}/([0-9a-f]{{64}})\.json")


@dataclass(frozen=True)
class Manifest:
    """What a stage call read, how it was set, and the artifacts it made; `seconds` of its run."""

    key: str
    stage: str
    subject: str
    backend: str
    version: str
    settings: Mapping[str, Any]
    weights: str
    seed: int
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Artifact]
    seconds: float = 0.0


def artifact_name(artifact: Artifact) -> str:
    """Where an artifact lies in its place."""
    return f"{ARTIFACTS}/{artifact.sha256[:2]}/{artifact.sha256}{artifact.suffix}"


def result_name(key: str) -> str:
    """Where the manifest of a key lies."""
    return f"{RESULTS}/{key[:2]}/{key}.json"


def artifact_from_json(value: Mapping[str, str]) -> Artifact:
    """The inverse of `dataclasses.asdict` for an artifact; TypeError where it could name a path."""
    if not (SHA256.fullmatch(value["sha256"]) and SUFFIX.fullmatch(value["suffix"])):
        raise TypeError(f"{value['sha256']!r} with suffix {value['suffix']!r} is no artifact")
    return Artifact(value["kind"], value["sha256"], value["suffix"])


def manifest_from_json(value: Mapping[str, Any]) -> Manifest:
    """The inverse of `dataclasses.asdict` for a manifest."""
    named = {
        group: {name: artifact_from_json(a) for name, a in value[group].items()}
        for group in ("inputs", "outputs")
    }
    return Manifest(**{**value, **named})


def sealed(manifest: Manifest) -> bytes:
    """The record of a manifest: JSON text with a checksum over its body, so that a flipped byte is
    noticed."""
    body = asdict(manifest)
    seal = digest(canonical_json(body).encode())
    return (json.dumps({"sha256": seal, "result": body}, indent=1, sort_keys=True) + "\n").encode()


def unsealed(data: bytes) -> Manifest | None:
    """The manifest of a record's bytes, None where they are damaged."""
    try:
        text = json.loads(data)
        if digest(canonical_json(text["result"]).encode()) != text["sha256"]:
            return None
        return manifest_from_json(text["result"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
