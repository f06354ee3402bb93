"""Golden tensors of the public reference code of Direct3D-S2."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from support import ROOT  # noqa: E402
from support.parity.cases import check_fixture, parametrize_sidecars  # noqa: E402

# Refiners run 27 patches, which takes seconds.
OWN = [
    pytest.param(path, marks=[pytest.mark.slow] if "refiner" in path.stem else [], id=path.stem)
    for path in sorted((ROOT / "tests" / "data" / "direct3d").glob("*.json"))
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_sidecars(metafunc, lambda name: name.startswith("direct3d_"))


def test_fixture(sidecar: Path) -> None:
    check_fixture(sidecar)


@pytest.mark.parametrize("own", OWN)
def test_own_fixture(own: Path) -> None:
    """Those that `make_fixtures.py` made, of what the folder of --parity does not have."""
    check_fixture(own)
