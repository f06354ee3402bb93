"""A folder of tiny random weights in the released layout of Direct3D-S2: every network, narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from direct3d_s2 import convert
from direct3d_s2.checkpoints import BACK_PROJECTION, PARTS
from direct3d_s2.networks import build_network
from sparse3d.dinov2 import KIND as DINO

WIDTH = 32
# Grids of 2, 4 and 8 cells: fields of 32^3 and 64^3 values.
DIT = {
    "model_channels": WIDTH, "cond_channels": WIDTH, "num_blocks": 1, "num_heads": 4,
    "mlp_ratio": 2, "qk_rms_norm": True, "use_fp16": True,
}  # fmt: skip
SPARSE = {
    **DIT, "in_channels": 4, "out_channels": 4, "num_kv_heads": 2, "compression_block_size": 2,
    "selection_block_size": 2, "topk": 2, "compression_version": "v1", "window_size": 2,
}  # fmt: skip
SDF = {
    "embed_dim": 4, "model_channels_decoder": WIDTH, "num_blocks_decoder": 1,
    "num_heads_decoder": 2, "use_fp16": True,
}  # fmt: skip
REFINER = {
    "res": 32, "patch_size": 16, "layers_per_block": 1, "layers_mid_block": 1, "use_fp16": True,
    "feature_channels": WIDTH // 16, "widths": [8, 4],
}  # fmt: skip
SCHEDULER = {"target": "diffusers.FlowMatchEulerDiscreteScheduler"}
CONFIG: dict[str, dict[str, Any]] = {
    "dense_dit": {
        "target": "direct3d_s2.models.transformers.dense_dit.DenseDiT",
        "params": {**DIT, "resolution": 2, "in_channels": 4, "out_channels": 4, "patch_size": 1},
    },
    "dense_vae": {
        "target": "direct3d_s2.models.autoencoders.dense_vae.DenseShapeVAE",
        "params": {
            "embed_dim": 4, "model_channels_decoder": [8, 8], "num_res_blocks_decoder": 1,
            "num_res_blocks_middle_decoder": 1, "use_fp16": True,
        },
    },
    "sparse_dit_512": {
        "target": "direct3d_s2.models.transformers.sparse_dit.SparseDiT",
        "params": {**SPARSE, "resolution": 4, "factor": 1.0},
    },
    "sparse_vae_512": {
        "target": "direct3d_s2.models.autoencoders.ss_vae.SparseSDFVAE",
        "params": {**SDF, "resolution": 4},
    },
    "sparse_dit_1024": {
        "target": "direct3d_s2.models.transformers.sparse_dit.SparseDiT",
        "params": {**SPARSE, "resolution": 8, "factor": 0.5},
    },
    "sparse_vae_1024": {
        "target": "direct3d_s2.models.autoencoders.ss_vae.SparseSDFVAE",
        "params": {**SDF, "resolution": 8, "chunk_size": 4},
    },
    "refiner": {
        "target": "direct3d_s2.models.refiner.unet_refiner.Voxel_RefinerXL", "params": REFINER,
    },
    "refiner_1024": {
        "target": "direct3d_s2.models.refiner.unet_refiner.Voxel_RefinerXL_sign",
        "params": REFINER,
    },
    "dense_scheduler": {**SCHEDULER, "params": {"shift": 6.0}},
    "sparse_scheduler_512": {**SCHEDULER, "params": {"shift": 6.0}},
    "sparse_scheduler_1024": {**SCHEDULER, "params": {"shift": 8.0}},
}  # fmt: skip
DINO_SIZES = {
    "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14,
    "image_size": 56, "num_register_tokens": 4,
}  # fmt: skip
NAF = {"dim": 16, "heads_attn": 4, "heads_rope": 4, "kernel_size": 3, "img_layers": 1}


def write_tiny_checkpoint(folder: Path, pixel_aligned: bool = False, seed: int = 0) -> Path:
    """Write config.yaml, the five released files (converted), dinov2/ and, for pixel-aligned
    networks, the layers of the back-projection and NAF; returns the folder."""
    random = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), "utf-8")
    for name, parts in _released_files(random).items():
        torch.save(parts, folder / f"{name}.ckpt")
    for converted in convert(folder):
        converted.with_suffix(".ckpt").unlink()
    (folder / "dinov2").mkdir()
    (folder / "dinov2" / "config.json").write_text(json.dumps(DINO_SIZES))
    save_file(_random_weights(DINO, DINO_SIZES, random), folder / "dinov2/model.safetensors")
    if pixel_aligned:
        sizes = {"widths": [WIDTH] * 3, "feature_channels": WIDTH}
        save_file(_random_weights("BackProjection", sizes, random), folder / BACK_PROJECTION)
        (folder / "naf.json").write_text(json.dumps(NAF))
        save_file(_random_weights("NAF", NAF, random), folder / "naf.safetensors")
    return folder


def _released_files(random: torch.Generator) -> dict[str, dict[str, dict[str, Tensor]]]:
    """What every file holds, by its parts; a VAE with a stand-in for its encoder."""
    files: dict[str, dict[str, dict[str, Tensor]]] = {}
    for part, (_, stem, prefix) in PARTS.items():
        described = CONFIG[part]
        kind = described["target"].rsplit(".", 1)[-1]
        weights = _random_weights(kind, described["params"], random)
        outer, _, inner = prefix.partition(".")
        named = {f"{inner}{name}": tensor for name, tensor in weights.items()}
        if outer == "vae":
            named["encoder.input_layer.weight"] = torch.zeros(1)
        files.setdefault(stem, {})[outer] = named
    return files


def _random_weights(
    kind: str, arguments: dict[str, Any], random: torch.Generator
) -> dict[str, Tensor]:
    """Weights that let every input through: matrices keep the spread, gains are about one."""
    network = build_network(kind, arguments, torch.float32)
    for name, parameter in network.named_parameters():
        values = torch.randn(parameter.shape, generator=random)
        if parameter.ndim > 1 and "gamma" not in name and "token" not in name:
            fan_in = parameter[..., 0] if name.endswith("kernel") else parameter[0]
            values = values / fan_in.numel() ** 0.5
        elif name.endswith("bias"):
            values = 0.2 * values
        else:
            values = 1 + 0.1 * values
        if name in ("conv_out.weight", "out_layer.weight") and parameter.ndim > 1:
            values = 3 * values  # fields that cross their level
        parameter.data.copy_(values)
    return {name: t.contiguous().clone() for name, t in network.state_dict().items()}
