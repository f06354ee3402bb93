"""What makes two computations the same: the key under which a stage's result is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scene.types import Artifact


def canonical_json(value: Any) -> str:
    """One text for one value: sorted names, no spaces, shortest float form, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: bytes) -> str:
    """sha256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def stage_key(
    stage: str,
    backend: str,
    version: str,
    settings: Mapping[str, Any],
    weights: str,
    inputs: Mapping[str, Artifact],
    seed: int,
) -> str:
    """sha256 over everything that can change a stage's output.

    version stands for the code, as `2.5` of stage and backend; weights: the digest of its weight
    files ("" without any); inputs map a name to the artifact that is read under it.
    """
    named = {name: [artifact.kind, artifact.sha256] for name, artifact in inputs.items()}
    body = [stage, backend, version, dict(settings), weights, named, seed]
    return digest(canonical_json(body).encode())


def object_seed(seed: int, object_id: str) -> int:
    """A seed in [0, 2^31) that depends on the run's seed and the object's content alone."""
    return int(digest(f"{seed}/{object_id}".encode())[:8], 16) & 0x7FFFFFFF
