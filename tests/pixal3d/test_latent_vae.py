"""The sparse decoders: slices of rows, half types, empty shapes and what does not fit."""

from __future__ import annotations

import pytest

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from benchmarks.generator.launches import launches  # noqa: E402
from pixal3d.latent_blocks import ConvNeXtBlock, DownBlock, UpBlock  # noqa: E402
from pixal3d.latent_vae import (  # noqa: E402
    LatentConfig,
    ShapeDecoder,
    ShapeEncoder,
    TextureDecoder,
    split_head,
)
from sparse3d.structure_vae import (  # noqa: E402
    StructureConfig,
    StructureDecoder,
    occupied_voxels,
)
from sparse3d.voxels import Voxels, coarsen, full_grid, subdivide  # noqa: E402
from support.some_voxels import some_voxels  # noqa: E402

SHAPE = LatentConfig(7, 4, (32, 16, 16), (1, 1, 0))
TEXTURE = LatentConfig(6, 4, (32, 16, 16), (1, 1, 0))
# The order of the coarsest rows, their grid's size, the taps (which are on the host), no row twice,
# and the order of the finest; of each level which children there are, their order, and whose.
WAITS_AT_THE_ENDS, WAITS_PER_LEVEL = 5, 3
SMALL_LIMIT = 60_000  # bytes: some 30 rows at these widths


def with_random_weights(network: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        spread = max(parameter[0].numel(), 1) ** -0.5 if parameter.ndim > 1 else 0.2
        drawn = torch.randn(parameter.shape, generator=random) * spread + centre
        parameter.data.copy_(drawn)
    return network.eval().requires_grad_(False)


def shape_decoder(type_name: str = "float32") -> ShapeDecoder:
    decoder = ShapeDecoder(SHAPE, getattr(torch, type_name))
    with_random_weights(decoder)
    return decoder


def some_latent(voxels: Voxels) -> Tensor:
    return torch.randn(len(voxels), 4, generator=torch.Generator().manual_seed(1))


def test_slices_of_rows_do_not_change_what_is_decoded() -> None:
    """Some dozens of rows at a time and all at once: the same voxels, features up to rounding."""
    voxels, decoder = some_voxels(seed=0, side=4), shape_decoder()
    whole = decoder(some_latent(voxels), voxels)
    sliced = decoder(some_latent(voxels), voxels, chunk_bytes=SMALL_LIMIT)
    assert torch.equal(sliced.voxels.coords, whole.voxels.coords)
    torch.testing.assert_close(sliced.features, whole.features, atol=1e-5, rtol=1e-4)
    texture = TextureDecoder(TEXTURE)
    with_random_weights(texture)
    inputs = some_latent(voxels), voxels, whole.subdivisions
    colours = texture(*inputs)
    assert len(colours) == len(whole.voxels)
    torch.testing.assert_close(
        texture(*inputs, chunk_bytes=SMALL_LIMIT), colours, atol=1e-5, rtol=1e-4
    )


def test_slices_of_rows_do_not_change_what_is_encoded() -> None:
    voxels = some_voxels(seed=1)
    encoder = ShapeEncoder(LatentConfig(6, 4, (16, 32), (1, 1)))
    with_random_weights(encoder)
    random = torch.Generator().manual_seed(2)
    vertices = torch.rand(len(voxels), 3, generator=random)
    crossed = torch.rand(len(voxels), 3, generator=random) < 0.5
    whole, sliced = (
        encoder(vertices, crossed, voxels),
        encoder(vertices, crossed, voxels, SMALL_LIMIT),
    )
    torch.testing.assert_close(sliced.mean, whole.mean, atol=1e-5, rtol=1e-4)
    assert torch.equal(whole.voxels.coords, coarsen(voxels).parents.coords)


def test_batch_items_do_not_see_each_other() -> None:
    voxels, decoder = some_voxels(seed=2, side=3), shape_decoder()
    latent = some_latent(voxels)
    together = decoder(latent, voxels)
    first = voxels.lengths[0]
    alone = decoder(latent[:first], Voxels(voxels.coords[:first]))
    rows = together.voxels.lengths[0]
    assert torch.equal(alone.voxels.coords, together.voxels.coords[:rows])
    torch.testing.assert_close(alone.features, together.features[:rows], atol=1e-5, rtol=1e-4)


def test_half_precision_keeps_ends_and_norms_in_float32() -> None:
    decoder = shape_decoder("float16")
    wide = {n for n, p in decoder.named_parameters() if p.dtype == torch.float32}
    ends = {n for n, _ in decoder.named_parameters() if n.startswith(("from_", "output_"))}
    norms = {n for n, _ in decoder.named_parameters() if ".norm" in n}
    assert wide == ends | norms
    voxels = some_voxels(seed=3, side=4)
    half, full = (d(some_latent(voxels), voxels) for d in (decoder, shape_decoder()))
    assert half.features.dtype == torch.float32
    assert half.subdivisions[0].dtype == torch.float16
    error = (half.subdivisions[0].float() - full.subdivisions[0]).std()
    assert 0 < float(error / full.subdivisions[0].std()) < 5e-3


def test_half_precision_structure_keeps_ends_and_norms_in_float32() -> None:
    config = StructureConfig(channels=(16, 8), blocks=1, middle_blocks=1)
    halved = StructureDecoder(config, torch.float16)
    wide = {n for n, p in halved.named_parameters() if p.dtype == torch.float32}
    ends = {n for n, _ in halved.named_parameters() if n.startswith(("input_", "out_"))}
    norms = {n for n, _ in halved.named_parameters() if ".norm" in n}
    assert wide == ends | norms
    latent = torch.randn(1, 8, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    logits = with_random_weights(halved)(latent)
    expected = with_random_weights(StructureDecoder(config))(latent)
    assert logits.dtype == torch.float32
    assert 0 < float((logits - expected).std() / expected.std()) < 1e-2


def test_no_child_at_all_decodes_to_nothing() -> None:
    voxels, decoder = some_voxels(seed=4, side=3), shape_decoder()
    decoder.ups[0].to_subdiv.bias.fill_(-1e6)
    decoded = decoder(some_latent(voxels), voxels)
    assert len(decoded.voxels) == 0
    assert split_head(decoded.features).dual_vertices.shape == (0, 3)
    assert len(decoder.upsample(some_latent(voxels), voxels, 2)) == 0


def test_all_layers_of_a_level_share_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the coarsest table is searched for; every finer level is derived once."""
    from sparse3d import voxels as module

    calls = {"sorted": 0, "derived": 0}
    for kind in calls:
        original = getattr(module, f"{kind}_neighbours")

        def counted(*arguments: object, kind: str = kind, original=original) -> Tensor:
            calls[kind] += 1
            return original(*arguments)

        monkeypatch.setattr(module, f"{kind}_neighbours", counted)
    decoder, voxels = shape_decoder(), full_grid(1, 3)
    decoder(some_latent(voxels), voxels)
    assert calls == {"sorted": 1, "derived": 2}


def test_both_forms_of_the_convolution_decode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs, as on a CPU, and all taps at once, as elsewhere: the same voxels and features."""
    voxels, decoder = some_voxels(seed=7, side=4), shape_decoder()
    by_pairs = decoder(some_latent(voxels), voxels)
    monkeypatch.setattr("sparse3d.sparse_conv.multiplies_pairs", lambda device: False)
    for chunk_bytes in (SMALL_LIMIT, None):
        gathered = decoder(some_latent(voxels), voxels, chunk_bytes)
        assert torch.equal(gathered.voxels.coords, by_pairs.voxels.coords)
        torch.testing.assert_close(gathered.features, by_pairs.features, atol=1e-5, rtol=1e-4)


def test_a_device_is_waited_for_once_per_level_whatever_the_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What decides sizes is waited for: the coarsest table, and children of a level and their rows;
    nothing for a tap or a slice of rows."""
    monkeypatch.setattr("sparse3d.sparse_conv.multiplies_pairs", lambda device: False)
    voxels, decoder = some_voxels(seed=8, side=5), shape_decoder()
    counted = [
        launches(lambda size=size: decoder(some_latent(voxels), Voxels(voxels.coords), size))
        for size in (SMALL_LIMIT // 4, SMALL_LIMIT, 2**30)
    ]
    many, _, few = counted
    assert many.matrix_products > 5 * few.matrix_products
    assert {c.waits for c in counted} == {WAITS_AT_THE_ENDS + WAITS_PER_LEVEL * 2}


class LargestMatrix(TorchDispatchMode):
    """Notes the most elements that any two-dimensional result has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # pyright: ignore
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.ndim == 2:
            self.elements = max(self.elements, result.numel())
        return result


def test_wide_results_are_never_held_whole() -> None:
    """The 8 C' channels before a split exist for some parents at a time."""
    voxels = full_grid(1, 8)
    block = UpBlock(64, 32, False, torch.float32, "torch")
    with_random_weights(block)
    children = subdivide(voxels, (torch.arange(8) == 3).expand(len(voxels), 8))
    features = torch.randn(len(voxels), 64, generator=torch.Generator().manual_seed(5))
    with LargestMatrix() as largest:
        made = block(features, children, chunk_bytes=2**18)
    assert made.shape == (len(voxels), 32)
    assert 0 < largest.elements <= features.numel()


def test_what_does_not_fit_is_refused() -> None:
    voxels, decoder = some_voxels(seed=5, side=3), shape_decoder()
    latent = some_latent(voxels)
    with pytest.raises(ValueError, match="expected features"):
        decoder(latent[1:], voxels)
    with pytest.raises(ValueError, match="levels must be 1 to 2, not 3"):
        decoder.upsample(latent, voxels, 3)
    with pytest.raises(ValueError, match="expected 2 subdivisions, not 1"):
        TextureDecoder(TEXTURE)(latent, voxels, [torch.zeros(len(voxels), 8)])
    with pytest.raises(ValueError, match="differ in number"):
        LatentConfig(7, 4, (8, 8), (1,))
    with pytest.raises(ValueError, match=r"\(M, 7\)"):
        split_head(torch.zeros(5, 6))
    with pytest.raises(ValueError, match=r"\(B, 1, X, Y, Z\)"):
        occupied_voxels(torch.zeros(1, 2, 4, 4, 4))
    with pytest.raises(ValueError, match="expected a"):
        StructureDecoder(StructureConfig(channels=(8,)))(torch.zeros(1, 3, 4, 4, 4))
    with pytest.raises(ValueError, match="subdivide"):
        UpBlock(8, 8, False, torch.float32, "torch")(torch.zeros(len(voxels), 8), voxels, 2**20)


def test_official_sizes_have_the_published_parameter_counts() -> None:
    """Facts of the released files; built without memory."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in network.parameters())
            for network in (
                ShapeDecoder(LatentConfig()),
                TextureDecoder(LatentConfig(voxel_channels=6)),
                ShapeEncoder(LatentConfig(6, 32, (64, 128, 256, 512, 1024), (0, 4, 8, 16, 4))),
                StructureDecoder(StructureConfig()),
            )
        ]
    assert counts == [474_231_463, 474_216_006, 354_385_392, 73_671_201]


def test_blocks_keep_what_passes_beside_them() -> None:
    """With their last layers zero, blocks return their shortcuts."""
    voxels = some_voxels(seed=6)
    features = torch.randn(len(voxels), 16, generator=torch.Generator().manual_seed(6))
    block = ConvNeXtBlock(16, torch.float32, "torch").requires_grad_(False)
    for parameter in block.mlp[2].parameters():
        parameter.zero_()
    assert torch.equal(block(features, voxels, 2**20), features)
    down = DownBlock(16, 32, torch.float32, "torch").requires_grad_(False)
    down.conv2.weight.zero_()
    origin = coarsen(voxels)
    merged = down(features, voxels, origin, 2**20)
    # Child 0's 16 channels fill the first 4 of 32, four neighbours to one.
    first = origin.slots % 8 == 0
    means = features[first].view(-1, 4, 4).mean(2)
    torch.testing.assert_close(merged[origin.parent_rows[first], :4], means)
