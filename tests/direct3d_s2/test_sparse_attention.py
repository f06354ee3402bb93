"""Spatial sparse attention: the fast form equals its twin, in any order of tokens and slices."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from torch import Tensor  # noqa: E402

from direct3d_s2 import sparse_attention  # noqa: E402
from direct3d_s2.blocks import block_means, block_sums, blocks_of, sort_by_block  # noqa: E402
from direct3d_s2.sparse_attention import (  # noqa: E402
    AttentionSizes,
    SpatialSparseAttention,
    attend_blocks_by_masks,
    plan_tokens,
)
from sparse3d.voxels import Voxels  # noqa: E402

# v1.1 selects blocks of the size that it compresses, v1.0 larger ones.
V1 = AttentionSizes(64, 4, 2, 4, 4, 3, "v1", 4)
V2 = replace(V1, compression_block=2, compressor="v2")


def _voxels(counts: tuple[int, ...] = (150, 90), side: int = 12) -> Voxels:
    random = torch.Generator().manual_seed(0)
    parts = []
    for batch, count in enumerate(counts):
        codes = torch.randperm(side**3, generator=random)[:count]
        axes = [torch.full_like(codes, batch), codes // side**2, codes // side % side, codes % side]
        parts.append(torch.stack(axes, 1).int())
    return Voxels(torch.cat(parts))


def _attention(sizes: AttentionSizes, dtype: torch.dtype = torch.float32) -> SpatialSparseAttention:
    torch.manual_seed(1)
    attention = SpatialSparseAttention(sizes, 2, dtype)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return attention.requires_grad_(False)


def _both(sizes: AttentionSizes, voxels: Voxels) -> tuple[Tensor, Tensor]:
    attention, plan = _attention(sizes), plan_tokens(voxels, sizes, {2})
    x = torch.randn(len(voxels), sizes.width, generator=torch.Generator().manual_seed(2))
    fast = attention(x, plan)
    attention.attend_blocks = attend_blocks_by_masks
    return fast, attention(x, plan)


@pytest.mark.parametrize("sizes", [V1, V2, replace(V1, selected=100)], ids=["v1", "v2", "all"])
def test_fast_form_equals_its_twin(sizes: AttentionSizes) -> None:
    fast, twin = _both(sizes, _voxels())
    torch.testing.assert_close(fast, twin, atol=2e-5, rtol=1e-4)


def test_slices_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = _both(V2, _voxels())
    monkeypatch.setattr(sparse_attention, "default_chunk_bytes", lambda device: 1 << 16)
    sliced, _ = _both(V2, _voxels())
    torch.testing.assert_close(sliced, whole, atol=2e-5, rtol=1e-4)


def test_objects_of_a_batch_do_not_see_each_other() -> None:
    both = _voxels()
    first = Voxels(both.coords[:150])
    x = torch.randn(240, 64, generator=torch.Generator().manual_seed(3))
    attention = _attention(V2)
    together = attention(x, plan_tokens(both, V2, {2}))[:150]
    alone = attention(x[:150], plan_tokens(first, V2, {2}))
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


def test_with_all_blocks_selected_every_token_is_read() -> None:
    sizes, voxels = replace(V1, selected=1000), _voxels((100,))
    attention, plan = _attention(sizes), plan_tokens(voxels, sizes, {2})
    heads = attention.heads_of(torch.randn(100, 64), plan)
    _, found = attention.attend_blocks(heads, plan, sizes.selected)
    q, k, v = (t.transpose(0, 1) for t in (heads.q, heads.k, heads.v))
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    torch.testing.assert_close(found, full.transpose(0, 1), atol=2e-5, rtol=1e-4)


def test_means_count_the_zero_that_they_start_from() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 5, 0, 0], [0, 1, 1, 1]], dtype=torch.int32)
    blocks = blocks_of(coords, 4)
    features = torch.tensor([[3.0], [10.0], [6.0]])
    assert block_sums(features, blocks).tolist() == [[9.0], [10.0]]
    assert block_means(features, blocks).tolist() == [[3.0], [5.0]]


def test_rows_are_sorted_by_block_then_within_it() -> None:
    rows = [[0, 0, 0, 9], [0, 0, 7, 1], [0, 0, 1, 0], [0, 8, 0, 0], [0, 0, 0, 8]]
    ordered = sort_by_block(torch.tensor(rows, dtype=torch.int32), 8)
    assert ordered.tolist() == [rows[2], rows[1], rows[4], rows[0], rows[3]]
