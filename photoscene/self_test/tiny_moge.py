"""Tiny random MoGe checkpoints of both official classes, saved as the released ones are."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

WIDTHS = [32, 32, 32, 32, 32]
TOKENS_RANGE = [32, 96]
BACKBONE = "dinov2_tiny"


def register_backbone() -> None:
    """The configuration names its encoder, which MoGe looks up among its functions."""
    from moge.model.dinov2.hub import backbones
    from moge.model.dinov2.layers import MemEffAttention, NestedTensorBlock
    from moge.model.dinov2.models.vision_transformer import DinoVisionTransformer

    block: Any = partial(NestedTensorBlock, attn_class=MemEffAttention)

    def build(pretrained: bool = False) -> Any:
        return DinoVisionTransformer(
            img_size=518, patch_size=14, embed_dim=32, depth=4, num_heads=2, mlp_ratio=2,
            init_values=1.0, ffn_layer="mlp", block_chunks=0, block_fn=block,
        )  # fmt: skip

    setattr(backbones, BACKBONE, build)


def config_v2(normals: bool = True) -> dict[str, Any]:
    """The layout of MoGe-2, all widths 32."""
    plain = {"resamplers": ["bilinear"] * 4, "res_block_in_norm": "none",
             "res_block_hidden_norm": "none"}  # fmt: skip

    def head(channels: int) -> dict[str, Any]:
        return {"dim_in": WIDTHS, "dim_res_blocks": WIDTHS, "dim_out": [None] * 4 + [channels],
                "num_res_blocks": [0] * 5, **plain}  # fmt: skip

    neck = {"dim_in": [34, 2, 2, 2, 2], "dim_res_blocks": WIDTHS, "dim_out": WIDTHS,
            "num_res_blocks": [1] * 5, **plain}  # fmt: skip
    config = {
        "encoder": {"backbone": BACKBONE, "intermediate_layers": 2, "dim_out": 32},
        "neck": neck, "points_head": head(3), "mask_head": head(1),
        "scale_head": {"dims": [32, 32, 1]}, "remap_output": "exp",
        "num_tokens_range": TOKENS_RANGE,
    }  # fmt: skip
    return config | ({"normal_head": head(3)} if normals else {})


def config_v1() -> dict[str, Any]:
    """The layout of MoGe, all widths 32; `trained_area_range` is how older ones say their range."""
    return {
        "encoder": BACKBONE, "intermediate_layers": 2, "dim_proj": 32, "dim_upsample": [32, 32, 32],
        "remap_output": "exp", "trained_area_range": [n * 14**2 for n in TOKENS_RANGE],
    }  # fmt: skip


def write_moge(
    folder: Path, version: int = 2, normals: bool = True, seed: int = 0, spread: float = 0.7
) -> Path:
    """A folder with model.pt: random z about 1, and x, y = spread * z times the pixel's direction.

    Directions are MoGe's: 1 at half the diagonal. So its focal length is half the diagonal over
    spread, exactly, whatever it sees.
    """
    if version == 2:
        from moge.model.v2 import MoGeModel
    else:
        from moge.model.v1 import MoGeModel
    register_backbone()
    config = config_v2(normals) if version == 2 else config_v1()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        network = MoGeModel(**dict(config))
        with torch.no_grad():
            (_aim_v2 if version == 2 else _aim_v1)(network, spread)
    folder.mkdir(parents=True)
    torch.save({"model_config": config, "model": network.state_dict()}, folder / "model.pt")
    return folder


def _aim_v2(network: Any, spread: float) -> None:
    """Channels 0 and 1 carry the pixel's direction from the neck's last level to x and y."""
    for stack in (network.neck, network.points_head):
        _only(stack.input_blocks[4], 1.0)
        for layer in (*stack.resamplers[3], *(b.layers[-1] for b in stack.res_blocks[4])):
            if isinstance(layer, torch.nn.Conv2d):
                _only(layer, 0.0)
    _only(network.neck.output_blocks[4], 1.0)
    last = network.points_head.output_blocks[4]
    _only(last, spread)


def _aim_v1(network: Any, spread: float) -> None:
    """The same through the rectifier before the last layer: it sees directions that are raised."""
    points, mask = network.head.output_block
    first, last = points[0], points[-1]
    first.weight[:2], first.bias[:2] = 0, 1
    first.weight[0, -2, 1, 1] = first.weight[1, -1, 1, 1] = 1
    _only(last, spread)
    last.bias[:2] = -spread
    mask[-1].bias += 0.5  # most pixels are valid, not all


def _only(layer: Any, gain: float) -> None:
    """Outputs 0 and 1 are gain times inputs 0 and 1 of the middle tap, and nothing else."""
    layer.weight[:2], layer.bias[:2] = 0, 0
    middle = layer.weight.shape[-1] // 2
    layer.weight[0, 0, middle, middle] = layer.weight[1, 1, middle, middle] = gain
