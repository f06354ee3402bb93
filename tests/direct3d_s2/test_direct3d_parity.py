"""Golden tensors of the public reference code of Direct3D-S2."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from support.parity.cases import check_fixture, parametrize_sidecars  # noqa: E402


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_sidecars(metafunc, lambda name: name.startswith("direct3d_"))


def test_fixture(sidecar: Path) -> None:
    check_fixture(sidecar)
