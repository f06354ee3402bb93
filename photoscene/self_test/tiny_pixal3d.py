"""A folder of tiny random weights in the official layout: every network of the cascade, narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pixal3d.networks import build_network

WIDTH, IMAGE_CHANNELS = 48, 32
FLOW = {
    "resolution": 16, "model_channels": WIDTH, "cond_channels": IMAGE_CHANNELS, "num_blocks": 2,
    "num_heads": 3, "mlp_ratio": 5.3334, "pe_mode": "rope", "share_mod": True,
    "initialization": "scaled", "qk_rms_norm": True, "qk_rms_norm_cross": True,
    "image_attn_mode": "proj", "dtype": "bfloat16",
}  # fmt: skip
LEVELS = {
    "model_channels": [32, 16, 16, 8, 8], "latent_channels": 32, "num_blocks": [1, 1, 1, 1, 0],
    "use_fp16": True,
}  # fmt: skip
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "sparse_structure_flow_model": (
        "SparseStructureFlowModel", {**FLOW, "in_channels": 8, "out_channels": 8}
    ),
    "shape_slat_flow_model_512": (
        "ElasticSLatFlowModel",
        {**FLOW, "in_channels": 32, "out_channels": 32, "proj_in_channels": 2 * IMAGE_CHANNELS},
    ),
    "shape_slat_flow_model_1024": (
        "ElasticSLatFlowModel",
        {**FLOW, "in_channels": 32, "out_channels": 32, "proj_in_channels": 2 * IMAGE_CHANNELS},
    ),
    "tex_slat_flow_model_1024": (
        "ElasticSLatFlowModel",
        {**FLOW, "in_channels": 64, "out_channels": 32, "proj_in_channels": 2 * IMAGE_CHANNELS},
    ),
    "sparse_structure_decoder": (
        "SparseStructureDecoder",
        {"out_channels": 1, "latent_channels": 8, "num_res_blocks": 1, "num_res_blocks_middle": 1,
         "channels": [16, 8, 8], "use_fp16": True},
    ),
    "shape_slat_decoder": ("FlexiDualGridVaeDecoder", {**LEVELS, "resolution": 256}),
    "tex_slat_decoder": (
        "SparseUnetVaeDecoder", {**LEVELS, "out_channels": 6, "pred_subdiv": False}
    ),
}  # fmt: skip
DINO = {
    "hidden_size": IMAGE_CHANNELS, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "patch_size": 32, "num_register_tokens": 4,
}  # fmt: skip
NAF = {"dim": 16, "heads_attn": 4, "heads_rope": 4, "kernel_size": 9, "img_layers": 1}
# Few voxels, so that a test takes seconds; their lower four children, so that they make a sheet;
# and many crossed edges, so that the sheet is a surface.
STRUCTURE_BIAS, CROSSING_BIAS = -1.7, 1.0
SUBDIVISION_BIAS = (3.0, 3.0, 3.0, 3.0, -3.0, -3.0, -3.0, -3.0)


def write_tiny_checkpoint(folder: Path, several_views: bool = False, seed: int = 0) -> Path:
    """Write pipeline.json, ckpts/, dinov3/ and NAF's weights; returns the folder."""
    random = torch.Generator().manual_seed(seed)
    (folder / "ckpts").mkdir(parents=True)
    suffix = "_mv" if several_views else ""
    models = {}
    for key, (kind, arguments) in NETWORKS.items():
        stem = f"ckpts/{key}{suffix if 'flow' in key else ''}"
        (folder / f"{stem}.json").write_text(json.dumps({"name": kind, "args": arguments}))
        save_file(_random_weights(kind, arguments, random), folder / f"{stem}.safetensors")
        models[key] = stem
    pipeline = {"name": "Trellis2ImageTo3DPipeline", "args": {"models": models}}
    (folder / f"pipeline{suffix}.json").write_text(json.dumps(pipeline))
    (folder / "dinov3").mkdir()
    (folder / "dinov3" / "config.json").write_text(json.dumps(DINO))
    save_file(_random_weights("DINOv3ViTModel", DINO, random), folder / "dinov3/model.safetensors")
    (folder / "naf.json").write_text(json.dumps(NAF))
    save_file(_random_weights("NAF", NAF, random), folder / "naf.safetensors")
    return folder


def _random_weights(
    kind: str, arguments: dict[str, Any], random: torch.Generator
) -> dict[str, Tensor]:
    """Weights that let every input through: matrices keep the spread, gains are about one."""
    network = build_network(kind, arguments, torch.float32)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_draw(name, parameter, random))
        _thin_out(network)
    return {name: t.contiguous().clone() for name, t in network.state_dict().items()}


def _draw(name: str, like: nn.Parameter, random: torch.Generator) -> Tensor:
    values = torch.randn(like.shape, generator=random)
    if like.ndim > 1 and "gamma" not in name and "token" not in name:
        fan_in = like.numel() // like.shape[0]
        return values / fan_in**0.5
    if name.endswith("bias"):
        return 0.2 * values
    return 1 + 0.1 * values if "modulation" not in name else 0.3 * values


def _thin_out(network: nn.Module) -> None:
    """Make decoders that decide what is occupied decide for little."""
    for name, parameter in network.named_parameters():
        if name == "out_layer.2.bias" and parameter.shape == (1,):
            parameter.fill_(STRUCTURE_BIAS)
        if name.endswith("to_subdiv.bias"):
            parameter.copy_(torch.tensor(SUBDIVISION_BIAS))
        if name == "output_layer.bias" and parameter.shape == (7,):
            parameter[3:6] = CROSSING_BIAS
