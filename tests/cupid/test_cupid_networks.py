"""Networks of Cupid that no golden fixture covers: the public code's answers, and official sizes.

The answers in data/cupid_networks.safetensors were made by Cupid, commit 10af9b2, on a CPU (spconv
2.3.8, exact attention in place of flash_attn) with weights and inputs by formula.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file  # noqa: E402

from cupid.context import ImageContext, token_weights  # noqa: E402
from cupid.latent_flow import LatentFlow  # noqa: E402
from cupid.latent_vae import LatentEncoder, MeshDecoder  # noqa: E402
from cupid.networks import OFFICIAL, build_network  # noqa: E402
from cupid.structure_flow import StructureFlow  # noqa: E402
from sparse3d.errors import BadConfiguration  # noqa: E402
from sparse3d.transformer import CrossAttention  # noqa: E402
from sparse3d.voxels import Voxels  # noqa: E402
from support import DATA  # noqa: E402
from support.formula_weights import fill, numbers  # noqa: E402

PUBLIC = DATA / "cupid_networks.safetensors"
SWIN: dict[str, Any] = {"latent_channels": 4, "attn_mode": "swin", "pe_mode": "ape"}
# Counted on the public code's own modules: parameters.
RELEASED = {
    "structure_flow": 555_559_952,
    "latent_flow": 600_436_148,
    "structure_decoder": 73_671_201,
    "uv_decoder": 73_672_931,
    "latent_encoder": 85_817_104,
    "mesh_decoder": 90_926_693,
    "image_encoder": 304_372_736,
}


def some(side: int, share: float, stream: int, batch: int = 1) -> Voxels:
    """Voxels of a grid by formula."""
    grid = numbers(batch, side, side, side, stream=stream)
    return Voxels((grid > 1 - 2 * share).nonzero().int())


def test_the_latent_encoder() -> None:
    arguments = {**SWIN, "in_channels": 24, "model_channels": 32, "num_blocks": 3, "num_heads": 2,
                 "window_size": 4, "resolution": 16}  # fmt: skip
    encoder = cast(LatentEncoder, fill(build_network("SLatEncoder", arguments)))
    voxels = some(12, 0.05, 200, batch=2)
    expected = load_file(PUBLIC)["encoded"]
    with torch.inference_mode():
        encoded = encoder(numbers(len(voxels), 24, stream=201), voxels)
    torch.testing.assert_close(encoded, expected, atol=2e-5, rtol=1e-4)


def test_the_mesh_decoder() -> None:
    """Every 29th cube; the public code lists children with z fastest."""
    arguments = {**SWIN, "model_channels": 256, "num_blocks": 2, "num_heads": 4, "window_size": 2,
                 "resolution": 4, "representation_config": {"use_color": True}}  # fmt: skip
    decoder = cast(MeshDecoder, fill(build_network("SLatMeshDecoder", arguments)))
    voxels = some(4, 0.08, 210)
    with torch.inference_mode():
        cubes = decoder(numbers(len(voxels), 4, stream=211), voxels)
    assert cubes.colour is not None and cubes.resolution == 16
    parts = (cubes.distance, cubes.offset, cubes.weights, cubes.colour)
    decoded = torch.cat([part.flatten(1) for part in parts], 1)
    steps = torch.cartesian_prod(*[torch.arange(2)] * 3)
    first = 2 * voxels.coords[:, None, 1:] + steps
    theirs = (2 * first.flatten(0, 1)[:, None] + steps).flatten(0, 1)[::29]
    rows = (cubes.coords[None] == theirs[:, None]).all(2).int().argmax(1)
    expected = load_file(PUBLIC)["decoded"]
    torch.testing.assert_close(decoded[rows], expected, atol=1e-4, rtol=1e-4)


def test_covered_tokens_count_less() -> None:
    """The cross-attention with weights; the public code's weight 0 leaves 1e-7."""
    attention = cast(CrossAttention, fill(CrossAttention(16, 12, 2, torch.float32)))
    weights = numbers(2, 7, stream=232) / 2 + 0.5
    weights[0, 0], weights[1, 3] = 1, 0
    x, tokens = numbers(10, 16, stream=230), numbers(2, 7, 12, stream=231)
    found = []
    for item in range(2):
        keys, values = attention.context(tokens[item : item + 1])
        bias = (weights[item] + 1e-7).log()
        found.append(attention(x[5 * item : 5 * item + 5], keys, values, (5,), bias))
    expected = load_file(PUBLIC)["weighted"]
    torch.testing.assert_close(torch.cat(found).detach(), expected, atol=2e-5, rtol=1e-4)


def test_an_occluder_takes_its_share_of_a_patch() -> None:
    occluded = torch.zeros(8, 8)
    occluded[:4, 4:6] = 1
    weights = token_weights(occluded, grid=2, global_tokens=5)
    assert weights.tolist() == [1, 1, 1, 1, 1, 1, 0.5, 1, 1]


def test_a_covered_image_changes_the_velocity() -> None:
    """And one token of zeros is as good as many."""
    flow = cast(StructureFlow, fill(build_network("SparseStructureFlowModel", TINY_FLOW)))
    context = ImageContext(numbers(9, 12, stream=1), torch.linspace(0, 1, 9))
    x, time = numbers(8, 4, stream=2), torch.tensor([300.0])
    nothing = ImageContext(torch.zeros(9, 12))
    contexts = (context, ImageContext(context.tokens), context.without_image(), nothing)
    with torch.inference_mode():
        covered, plain, without, zeros = (flow(x, time, flow.prepare([c])) for c in contexts)
        both = flow(torch.cat([x, x]), time, flow.prepare(contexts[:2]))
    assert (covered - plain).abs().max() > 1e-2
    torch.testing.assert_close(without, zeros)
    torch.testing.assert_close(both, torch.cat([covered, plain]))


TINY_FLOW = {
    "resolution": 2, "in_channels": 4, "out_channels": 4, "model_channels": 24, "cond_channels": 12,
    "num_blocks": 2, "num_heads": 2, "patch_size": 1, "qk_rms_norm": True,
}  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL)
def test_released_networks(name: str) -> None:
    spec = OFFICIAL[name]
    with torch.device("meta"):
        network = build_network(spec.kind, spec.arguments)
    assert sum(p.numel() for p in network.parameters()) == RELEASED[name]


def test_released_names_shapes_and_types() -> None:
    with torch.device("meta"):
        found = {
            f"{name}/{key}": (tuple(tensor.shape), tensor.dtype)
            for name, spec in OFFICIAL.items()
            for key, tensor in build_network(spec.kind, spec.arguments).state_dict().items()
        }
    half, full = torch.float16, torch.float32
    expected = {
        "structure_flow/pos_emb": ((4096, 1024), full),
        "structure_flow/input_layer.weight": ((1024, 16), full),
        "structure_flow/blocks.23.adaLN_modulation.1.weight": ((6144, 1024), half),
        "structure_flow/blocks.23.self_attn.q_rms_norm.gamma": ((16, 64), full),
        "structure_flow/blocks.23.cross_attn.to_kv.weight": ((2048, 1024), half),
        "structure_flow/blocks.23.norm2.weight": ((1024,), full),
        "latent_flow/input_layer.weight": ((128, 32), full),
        "latent_flow/input_blocks.1.conv1.conv.weight": ((1024, 3, 3, 3, 128), half),
        "latent_flow/input_blocks.1.skip_connection.weight": ((1024, 128), half),
        "latent_flow/out_blocks.0.norm1.weight": ((2048,), full),
        "latent_flow/out_blocks.1.emb_layers.1.weight": ((256, 1024), half),
        "latent_flow/visual_conv_blocks.3.weight": ((4, 4, 3, 3), full),
        "latent_flow/out_layer.weight": ((8, 128), full),
        "uv_decoder/out_layer.2.weight": ((3, 32, 3, 3, 3), full),
        "latent_encoder/input_layer.weight": ((768, 1024), full),
        "latent_encoder/blocks.11.attn.to_qkv.weight": ((2304, 768), half),
        "latent_encoder/out_layer.weight": ((16, 768), full),
        "mesh_decoder/upsample.0.act_layers.0.weight": ((768,), full),
        "mesh_decoder/upsample.0.out_layers.0.conv.weight": ((192, 3, 3, 3, 768), half),
        "mesh_decoder/upsample.1.out_layers.3.conv.weight": ((96, 3, 3, 3, 96), half),
        "mesh_decoder/upsample.1.skip_connection.conv.weight": ((96, 1, 1, 1, 192), half),
        "mesh_decoder/out_layer.weight": ((101, 96), full),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_other_architectures_are_refused() -> None:
    flow = dict(OFFICIAL["structure_flow"].arguments)
    for change, message in (
        ({"pe_mode": "rope"}, "pe_mode is 'rope'"),
        ({"share_mod": True}, "share_mod is True"),
        ({"patch_size": 2}, "patch_size is 2"),
    ):
        with pytest.raises(BadConfiguration, match=message):
            build_network("SparseStructureFlowModel", {**flow, **change})
    latent = {**OFFICIAL["latent_flow"].arguments, "io_block_channels": None}
    with pytest.raises(BadConfiguration, match="one width for each halving"):
        build_network("ElasticVisualLatentConditioningSLatFlowModel", latent)
    with pytest.raises(BadConfiguration, match="attn_mode is 'full'"):
        build_network("SLatEncoder", {**OFFICIAL["latent_encoder"].arguments, "attn_mode": "full"})
    with pytest.raises(BadConfiguration, match="unknown network class"):
        build_network("SLatGaussianDecoder", {})
    with pytest.raises(BadConfiguration, match="lacks 'resolution'"):
        build_network("SparseStructureFlowModel", {})


def test_the_mask_of_occluders_may_be_a_fourth_channel() -> None:
    arguments = {**OFFICIAL["latent_flow"].arguments, "visual_input_channels": 4}
    with torch.device("meta"):
        flow = cast(LatentFlow, build_network(OFFICIAL["latent_flow"].kind, arguments))
    assert flow.visual_conv_blocks[0].weight.shape == (4, 4, 3, 3)
