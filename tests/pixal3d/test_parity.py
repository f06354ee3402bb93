"""Golden tensors of the public reference code of Pixal3D, and of what all generators have."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from support.parity.cases import check_fixture, parametrize_sidecars  # noqa: E402

# Other models: Cupid's pose and alignment (alignment/ tests its own), and Direct3D-S2.
OTHER_MODELS = ("cupid_", "direct3d_")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_sidecars(metafunc, lambda name: not name.startswith(OTHER_MODELS))


def test_fixture(sidecar: Path) -> None:
    check_fixture(sidecar)
