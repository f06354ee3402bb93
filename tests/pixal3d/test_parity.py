"""Golden tensors of the public reference code: every fixture of a folder, by its sidecar.

`pytest --parity DIR` names the folder (default: `../shared/parity` beside the project).
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from support import parity  # noqa: E402
from support.parity.fixture import read_fixture  # noqa: E402

CHECKS = {
    kind: check
    for module in pkgutil.iter_modules(parity.__path__)
    for kind, check in getattr(
        importlib.import_module(f"support.parity.{module.name}"), "CHECKS", {}
    ).items()
}
# Other models: Cupid's pose and alignment (alignment/ tests its own), and Direct3D-S2.
OTHER_MODELS = ("cupid_", "direct3d_")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = Path(metafunc.config.getoption("--parity"))
    sidecars = sorted(folder.glob("*.json"))
    ours = [s for s in sidecars if not s.stem.startswith(OTHER_MODELS)]
    if "sidecar" in metafunc.fixturenames:
        absent = pytest.mark.skip(reason=f"no golden fixtures in {folder.name}: see --parity")
        cases = ours or [pytest.param(None, marks=absent)]
        metafunc.parametrize("sidecar", cases, ids=lambda s: s.stem if s else "none")


def test_fixture(sidecar: Path) -> None:
    """The fixture is whole, its kind is known, and every one of its outputs is reproduced."""
    fixture = read_fixture(sidecar)
    data = sidecar.with_name(fixture.sidecar["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == fixture.sidecar["sha256"]
    assert fixture.kind in CHECKS, f"no check for a {fixture.kind}"
    with torch.inference_mode():
        CHECKS[fixture.kind](fixture)
    forgotten = {n for n in fixture.outputs if not n.startswith("debug_")} - fixture.checked
    assert not forgotten
