"""Every fixture of a folder, by its sidecar, beside the check of its kind.

`pytest --parity DIR` names the folder (default: `../shared/parity` beside the project).
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from support import parity
from support.parity.fixture import read_fixture

CHECKS = {
    kind: check
    for module in pkgutil.iter_modules(parity.__path__)
    if module.name != "cases"
    for kind, check in getattr(
        importlib.import_module(f"support.parity.{module.name}"), "CHECKS", {}
    ).items()
}


def parametrize_sidecars(metafunc: pytest.Metafunc, ours: Callable[[str], bool]) -> None:
    """Give a test that takes `sidecar` every fixture of the folder whose name is one of ours."""
    if "sidecar" not in metafunc.fixturenames:
        return
    folder = Path(str(metafunc.config.getoption("--parity")))
    found = [s for s in sorted(folder.glob("*.json")) if ours(s.stem)]
    absent = pytest.mark.skip(reason=f"no golden fixtures in {folder.name}: see --parity")
    cases = found or [pytest.param(None, marks=absent)]
    metafunc.parametrize("sidecar", cases, ids=lambda s: s.stem if s else "none")


def check_fixture(sidecar: Path) -> None:
    """The fixture is whole, its kind is known, and every one of its outputs is reproduced."""
    fixture = read_fixture(sidecar)
    data = sidecar.with_name(fixture.sidecar["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == fixture.sidecar["sha256"]
    assert fixture.kind in CHECKS, f"no check for a {fixture.kind}"
    with torch.inference_mode():
        CHECKS[fixture.kind](fixture)
    forgotten = {n for n in fixture.outputs if not n.startswith("debug_")} - fixture.checked
    assert not forgotten
