"""Golden tensors of the public reference code of Cupid."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from support.parity.cases import check_fixture, parametrize_sidecars  # noqa: E402

ELSEWHERE = ("cupid_pose", "cupid_align")  # pose and placement have tests of their own


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_sidecars(metafunc, lambda n: n.startswith("cupid_") and n not in ELSEWHERE)


def test_fixture(sidecar: Path) -> None:
    check_fixture(sidecar)
