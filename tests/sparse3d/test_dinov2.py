"""DINOv2 with registers: the tokens of transformers' own network, its names and its size."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file  # noqa: E402

from sparse3d.dinov2 import DINOV2_RULES, OFFICIAL_DINOV2, build_dinov2  # noqa: E402
from sparse3d.errors import BadConfiguration  # noqa: E402
from support import DATA  # noqa: E402
from support.formula_weights import fill, numbers  # noqa: E402

TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
    "image_size": 21, "patch_size": 7, "num_register_tokens": 4,
}  # fmt: skip


def test_tokens_are_the_reference_s() -> None:
    """Made by Dinov2WithRegistersModel of transformers 5.24 with the same weights by formula: its
    last hidden state through a LayerNorm without weights."""
    network = fill(build_dinov2(TINY))
    image = numbers(1, 3, 21, 21, stream=99) / 2 + 0.5
    expected = load_file(DATA / "dinov2_tokens.safetensors")["tokens"]
    with torch.inference_mode():
        tokens = network(image)
    torch.testing.assert_close(tokens, expected, atol=2e-5, rtol=1e-4)
    assert expected.std() > 0.9
    patches = network.patch_map(tokens)
    assert torch.equal(patches[0, :, 1, 2], tokens[0, 5 + 5]) and patches.shape == (1, 16, 3, 3)
    with pytest.raises(ValueError, match="must be"):
        network(image[..., :14])


def test_the_released_network() -> None:
    with torch.device("meta"):
        network = build_dinov2(OFFICIAL_DINOV2)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert sum(p.numel() for p in network.parameters()) == 304_372_736 and len(shapes) == 440
    assert shapes["embeddings.position_embeddings"] == (1, 1370, 1024)
    assert shapes["embeddings.patch_embeddings.projection.weight"] == (1024, 3, 14, 14)
    assert shapes["encoder.layer.23.attention.attention.query.weight"] == (1024, 1024)
    assert shapes["encoder.layer.23.mlp.fc1.weight"] == (4096, 1024)
    newer = {n.replace("attention.attention.query", "attention.q_proj") for n in shapes}
    ours = DINOV2_RULES.ours(newer, set(shapes))
    assert {ours(name) for name in newer} == set(shapes)
    with pytest.raises(BadConfiguration, match="use_swiglu_ffn"):
        build_dinov2({**OFFICIAL_DINOV2, "use_swiglu_ffn": True})
