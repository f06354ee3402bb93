"""Window attention of sparse tokens equals its twin; the position embedding is its formula."""

import math

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from sparse3d import windows  # noqa: E402
from sparse3d.positions import sin_cos_positions  # noqa: E402
from sparse3d.windows import attend_in_windows, attend_window_by_window, windows_of  # noqa: E402


def _coords(count: int, side: int, batches: int = 2):
    random = torch.Generator().manual_seed(0)
    codes = torch.randperm(batches * side**3, generator=random)[:count].sort().values
    parts = [codes // side**3, codes // side**2 % side, codes // side % side, codes % side]
    return torch.stack(parts, 1).int()


@pytest.mark.parametrize(("shift", "key_heads"), [(0, 4), (2, 1)])
def test_batches_of_windows_equal_one_window_after_the_other(shift: int, key_heads: int) -> None:
    coords = _coords(300, 8)
    random = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(300, heads, 8, generator=random) for heads in (4, key_heads, key_heads))
    found = windows_of(coords, 4, shift)
    assert sum(found.lengths) == 300 and len(set(found.lengths)) > 1
    twin = attend_window_by_window(q, k, v, found)
    torch.testing.assert_close(attend_in_windows(q, k, v, found), twin, atol=1e-5, rtol=1e-5)


def test_small_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "BATCH_TOKENS", 16)
    test_batches_of_windows_equal_one_window_after_the_other(2, 1)


def test_a_window_holds_the_tokens_of_its_cells_alone() -> None:
    coords = _coords(200, 8)
    found = windows_of(coords, 4, shift=2)
    for rows in found.order.split(list(found.lengths)):
        cells = coords[rows].clone()
        cells[:, 1:] = (cells[:, 1:] + 2) // 4
        assert (cells == cells[0]).all()


def test_positions_are_sines_and_cosines_axis_by_axis() -> None:
    embedding = sin_cos_positions(torch.tensor([[3, 0, 5]]), 16, factor=0.5)[0]
    frequencies = [1.0, 10000**-0.5]
    expected = []
    for coordinate in (1.5, 0.0, 2.5):
        expected += [math.sin(coordinate * f) for f in frequencies]
        expected += [math.cos(coordinate * f) for f in frequencies]
    assert embedding.tolist() == pytest.approx([*expected, 0, 0, 0, 0], abs=1e-6)
