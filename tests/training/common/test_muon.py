"""Muon: the product of squares is the iteration of the paper."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the training's extra: pip install -e '.[train]'")

from training.common.muon import ITERATIONS, NEWTON_SCHULZ, orthogonal  # noqa: E402


def test_muon_by_squares_is_muon_by_rows() -> None:
    a, b, c = NEWTON_SCHULZ
    for shape in ((16, 90), (90, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        x = matrix / matrix.norm()
        x = x.T if shape[0] > shape[1] else x
        for _ in range(ITERATIONS):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        expected = x.T if shape[0] > shape[1] else x
        found = orthogonal(torch.stack([matrix, 3 * matrix]))
        torch.testing.assert_close(found, torch.stack(2 * [expected]), atol=1e-4, rtol=1e-4)
