"""Upsampling by neighbourhood attention: the fast path against its readable twin."""

from __future__ import annotations

import pytest

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from torch import Tensor  # noqa: E402

from sparse3d.naf import (  # noqa: E402
    Guide,
    Naf,
    NafConfig,
    attend_at_pixels,
    attend_everywhere,
    nearest_windows,
)


def random_guide(pixels, cells, heads=2, kernel_size=3, channels=8, spread=2.0) -> Guide:
    draw = torch.Generator().manual_seed(0)
    queries = spread * torch.randn(*pixels, channels, generator=draw)
    keys = spread * torch.randn(*cells, channels, generator=draw)
    return Guide(queries, keys, heads, kernel_size)


def every_pixel(guide: Guide) -> tuple[Tensor, Tensor]:
    height, width = guide.queries.shape[:2]
    return torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)


@pytest.mark.parametrize(
    ("pixels", "cells", "kernel_size"),
    [
        ((24, 24), (6, 6), 3),
        ((14, 48), (7, 8), 5),
        ((27, 30), (9, 10), 9),
        ((20, 23), (8, 9), 5),  # no whole ratio
        ((12, 13), (12, 13), 5),  # no enlargement
        ((17, 40), (5, 12), 5),  # windows that hold one cell twice
        ((16, 16), (1, 1), 1),
    ],
)
def test_attention_at_every_pixel_equals_the_whole_map(pixels, cells, kernel_size) -> None:
    guide = random_guide(pixels, cells, kernel_size=kernel_size)
    features = torch.randn(6, *cells, generator=torch.Generator().manual_seed(1))
    expected = attend_everywhere(guide, features).flatten(1).T
    rows, columns = every_pixel(guide)
    for chunk_bytes in (1, 20_000, 1 << 30):
        fast = attend_at_pixels(guide, features, rows, columns, chunk_bytes)
        torch.testing.assert_close(fast, expected, atol=1e-5, rtol=1e-5)


def test_some_pixels_in_any_order_and_repeated() -> None:
    guide = random_guide((40, 36), (10, 12), kernel_size=5)
    features = torch.randn(6, 10, 12, generator=torch.Generator().manual_seed(1))
    whole = attend_everywhere(guide, features)
    draw = torch.Generator().manual_seed(2)
    rows = torch.randint(40, (200,), generator=draw)
    columns = torch.randint(36, (200,), generator=draw)
    fast = attend_at_pixels(guide, features, rows, columns, 50_000)
    torch.testing.assert_close(fast, whole[:, rows, columns].T, atol=1e-5, rtol=1e-5)
    none = attend_at_pixels(guide, features, rows[:0], columns[:0])
    assert none.shape == (0, 6)


def test_a_window_is_the_cells_around_the_pixel_shifted_at_the_borders() -> None:
    windows = nearest_windows(cells=12, pixels=36, kernel_size=5)
    for pixel in range(36):
        start = min(max(pixel // 3 - 2, 0), 12 - 5)
        assert windows[pixel].tolist() == list(range(start, start + 5))


def test_windows_follow_the_dilated_pixels_where_the_ratio_is_not_whole() -> None:
    """By brute force: the 3 nearest pixels of the same phase, 2 apart, on a map of 9 pixels."""
    windows = nearest_windows(cells=4, pixels=9, kernel_size=3)
    cell = [int((pixel + 0.5) * 4 / 9) for pixel in range(9)]
    for pixel in range(9):
        fellows = list(range(pixel % 2, 9, 2))
        place = min(max(fellows.index(pixel) - 1, 0), len(fellows) - 3)
        assert windows[pixel].tolist() == [cell[p] for p in fellows[place : place + 3]]


def test_equal_scores_average_the_window() -> None:
    guide = random_guide((16, 16), (8, 8), kernel_size=3, spread=0.0)
    features = torch.arange(8.0).repeat(2, 8, 1)
    columns = torch.tensor([0, 7, 15])
    result = attend_at_pixels(guide, features, torch.tensor([4, 4, 4]), columns)
    torch.testing.assert_close(result[:, 0], torch.tensor([1.0, 3.0, 6.0]))


def test_a_sharp_query_picks_its_cell_in_each_head() -> None:
    guide = random_guide((12, 12), (6, 6), heads=2, kernel_size=3, channels=8, spread=0.0)
    guide.keys[2, 3, :4] = 30.0
    guide.keys[3, 2, 4:] = 30.0
    guide.queries[5, 5] = 30.0
    features = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(1))
    result = attend_at_pixels(guide, features, torch.tensor([5]), torch.tensor([5]))[0]
    torch.testing.assert_close(result, torch.cat((features[:2, 2, 3], features[2:, 3, 2])))


def test_the_guide_depends_on_the_image_and_its_target() -> None:
    draw = torch.Generator().manual_seed(5)
    naf = Naf(NafConfig(channels=32, kernel_size=3)).eval()
    for parameter in naf.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw)
    image = torch.rand(3, 24, 32, generator=draw)
    with torch.inference_mode():
        guide = naf.guide(image, (24, 32), (6, 8))
        assert guide.queries.shape == (24, 32, 32)
        assert guide.keys.shape == (6, 8, 32)
        pooled = guide.queries.unflatten(0, (6, 4)).unflatten(2, (8, 4)).mean((1, 3))
        torch.testing.assert_close(guide.keys, pooled)
        assert not torch.allclose(guide.queries, naf.guide(1 - image, (24, 32), (6, 8)).queries)
        # An image above four times the target is reduced first, to one limit for both sides.
        reduced = torch.nn.functional.interpolate(image[None], (16, 16), mode="bilinear")[0]
        small = naf.guide(image, (4, 6), (4, 6))
        torch.testing.assert_close(small.queries, naf.guide(reduced, (4, 6), (4, 6)).queries)


def test_official_names_and_size() -> None:
    naf = Naf(NafConfig())
    names = set(naf.state_dict())
    assert len(names) == 37
    assert {"image_encoder.rope.periods", "image_encoder.sem_encoder.2.conv1.weight"} <= names
    assert naf.image_encoder.rope.periods.shape == (16,)
    assert sum(parameter.numel() for parameter in naf.parameters()) == 662_528
    torch.testing.assert_close(naf.image_encoder.rope.periods[8], torch.tensor(10.0))


def test_bad_input_is_refused() -> None:
    guide = random_guide((12, 12), (6, 6))
    pixel = torch.tensor([0])
    for call in (
        lambda: attend_at_pixels(guide, torch.zeros(4, 5, 6), pixel, pixel),
        lambda: attend_everywhere(guide, torch.zeros(3, 6, 6)),
        lambda: nearest_windows(cells=3, pixels=12, kernel_size=5),
        lambda: nearest_windows(cells=12, pixels=6, kernel_size=3),
        lambda: Naf(NafConfig()).guide(torch.zeros(1, 3, 8, 8), (8, 8), (4, 4)),
    ):
        with pytest.raises(ValueError):
            call()
