"""A folder of tiny weights of Cupid in the official layout, with which every picture is a ball.

Weights are random, but for those that decide the structure and the pose: a cube of random pixels
has no camera. The first flow moves every noise to one latent, a ball and where a camera sees its
voxels; the decoders enlarge it by trilinear interpolation; the last one says "inside" everywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cupid.conditioning import project
from cupid.networks import build_network
from cupid.structure_flow import StructureFlow
from sparse3d.dinov2 import KIND as DINO_KIND
from sparse3d.structure_vae import StructureDecoder

GRID, LATENTS, IMAGE_CHANNELS = 4, 8, 32
FLOW: dict[str, Any] = {
    "model_channels": 48, "cond_channels": IMAGE_CHANNELS, "num_blocks": 2, "num_heads": 3,
    "mlp_ratio": 4, "pe_mode": "ape", "qk_rms_norm": True, "use_fp16": True,
}  # fmt: skip
DECODER: dict[str, Any] = {
    "latent_channels": LATENTS, "num_res_blocks": 1, "num_res_blocks_middle": 1,
    "channels": [8, 8, 8], "use_fp16": True,
}  # fmt: skip
SWIN: dict[str, Any] = {
    "resolution": 4 * GRID, "latent_channels": LATENTS, "mlp_ratio": 2, "attn_mode": "swin",
    "window_size": 4, "use_fp16": True,
}  # fmt: skip
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "sparse_structure_flow_model": (
        "SparseStructureFlowModel",
        {**FLOW, "resolution": GRID, "in_channels": 16, "out_channels": 16, "patch_size": 1},
    ),
    "sparse_structure_decoder": ("SparseStructureDecoder", {**DECODER, "out_channels": 1}),
    "sparse_structure_uv_decoder": ("SparseStructureDecoder", {**DECODER, "out_channels": 3}),
    "slat_flow_model": (
        "ElasticVisualLatentConditioningSLatFlowModel",
        {**FLOW, "resolution": 4 * GRID, "in_channels": LATENTS, "out_channels": LATENTS,
         "cond_latent_channels": LATENTS, "visual_feat_channels": [2, 2],
         "visual_feat_resolution": 64, "patch_size": 2, "num_io_res_blocks": 2,
         "io_block_channels": [16]},
    ),
    "slat_decoder_mesh": (
        "ElasticSLatMeshDecoder",
        {**SWIN, "model_channels": 256, "num_blocks": 1, "num_heads": 4,
         "representation_config": {"use_color": True}},
    ),
}  # fmt: skip
ENCODER = {
    **SWIN, "in_channels": IMAGE_CHANNELS, "model_channels": 32, "num_blocks": 2, "num_heads": 2,
}  # fmt: skip
DINO = {
    "hidden_size": IMAGE_CHANNELS, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2,
    "image_size": 518, "patch_size": 74, "num_register_tokens": 4,
}  # fmt: skip
RADIUS = 0.33
# The camera that sees the ball: focal length in sides of the image, angles about the upright axis
# and above the ground, distance.
FOCAL, AZIMUTH_RAD, ELEVATION_RAD, DISTANCE = 1.6, 0.5, 0.3, 1.6
# In a layer norm, so large beside what passes through that its scale is nearly constant.
LARGE = 300.0
INSIDE = -0.5


def write_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write pipeline.json, ckpts/ and dinov2/; returns the folder."""
    random = torch.Generator().manual_seed(seed)
    (folder / "ckpts").mkdir(parents=True)
    models = {}
    for key, (kind, arguments) in {**NETWORKS, "slat_enc_tiny": ("SLatEncoder", ENCODER)}.items():
        stem = f"ckpts/{key}"
        (folder / f"{stem}.json").write_text(json.dumps({"name": kind, "args": arguments}))
        save_file(_weights(kind, arguments, random), folder / f"{stem}.safetensors")
        if key in NETWORKS:
            models[key] = stem
    # One step: the flow's velocity is right for the first only.
    samplers = {
        "sparse_structure_sampler": _sampler(1),
        "slat_sampler": _sampler(2),
    }
    pipeline = {"name": "Cupid3DPipeline", "args": {"models": models, **samplers}}
    (folder / "pipeline.json").write_text(json.dumps(pipeline))
    (folder / "dinov2").mkdir()
    (folder / "dinov2" / "config.json").write_text(json.dumps(DINO))
    save_file(_weights(DINO_KIND, DINO, random), folder / "dinov2" / "model.safetensors")
    return folder


def _sampler(steps: int) -> dict[str, Any]:
    params = {"steps": steps, "cfg_strength": 3.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0}
    name = "FlowEulerGuidanceIntervalSampler"
    return {"name": name, "args": {"sigma_min": 1e-5}, "params": params}


def tiny_camera() -> tuple[Tensor, Tensor]:
    """The camera that every picture's cube tells: intrinsics (3, 3), camera_from_object (4, 4)."""
    intrinsics = torch.tensor([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]])
    a, e = AZIMUTH_RAD, ELEVATION_RAD
    right = torch.tensor([math.cos(a), math.sin(a), 0])
    ahead = torch.tensor([-math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    camera_from_object = torch.eye(4)
    camera_from_object[:3, :3] = torch.stack((right, torch.linalg.cross(ahead, right), ahead))
    camera_from_object[2, 3] = DISTANCE
    return intrinsics, camera_from_object


def _weights(kind: str, arguments: dict[str, Any], random: torch.Generator) -> dict[str, Tensor]:
    """Random weights that let every input through, and those that make the ball."""
    network = build_network(kind, arguments, torch.float32)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_draw(name, parameter, random))
        if isinstance(network, StructureFlow):
            _move_to(network, _ball_latent())
        if isinstance(network, StructureDecoder):
            _enlarge(network)
        if kind.endswith("MeshDecoder"):
            network.state_dict()["out_layer.bias"][:8] = INSIDE
            network.state_dict()["out_layer.weight"][:8] *= 0.01
    return {name: t.contiguous().clone() for name, t in network.state_dict().items()}


def _draw(name: str, like: nn.Parameter, random: torch.Generator) -> Tensor:
    values = torch.randn(like.shape, generator=random)
    if like.ndim > 1 and "gamma" not in name and "token" not in name:
        return values / like[0].numel() ** 0.5
    return 0.2 * values if name.endswith("bias") else 1 + 0.1 * values


def _ball_latent() -> Tensor:
    """(4^3, 16): occupancy and the logits of u and v at each cell's centre; the rest is zero."""
    cells = torch.cartesian_prod(*[torch.arange(GRID)] * 3)
    centres = (cells + 0.5) / GRID - 0.5
    uv = project(centres, *tiny_camera()).clamp(0.02, 0.98)
    latent = torch.zeros(len(cells), 2 * LATENTS)
    latent[:, 0] = 4 * (RADIUS**2 - centres.square().sum(1))
    latent[:, LATENTS + 1 : LATENTS + 3] = uv.logit()
    return latent


def _move_to(flow: StructureFlow, latent: Tensor) -> None:
    """v = x - latent: one step from time 1 ends at the latent, but for what random blocks add."""
    width, channels = flow.config.model_channels, flow.config.in_channels
    stored = flow.state_dict()
    for name in ("input_layer.weight", "input_layer.bias", "pos_emb", "out_layer.weight"):
        stored[name].zero_()
    stored["out_layer.bias"].zero_()
    stored["input_layer.weight"][:channels] = torch.eye(channels)
    stored["pos_emb"][:, channels : 2 * channels] = latent
    constant = stored["input_layer.bias"][2 * channels :]
    constant[0::2], constant[1::2] = LARGE, -LARGE
    spread = LARGE * (len(constant) / width) ** 0.5
    stored["out_layer.weight"][:, :channels] = spread * torch.eye(channels)
    stored["out_layer.weight"][:, channels : 2 * channels] = -spread * torch.eye(channels)
    for name, tensor in stored.items():
        if ".to_out." in name or ".mlp.2." in name:
            tensor *= 1e-3


def _enlarge(decoder: StructureDecoder) -> None:
    """Trilinear interpolation of the first latent channels to the output's.

    Every channel passes beside its negative: silu(x) - silu(-x) = x. Two large constants beside
    them keep the scale of the last layer norm.
    """
    outputs, stored = decoder.config.image_channels, decoder.state_dict()
    for name, tensor in stored.items():
        if "norm" not in name and name != "out_layer.0.weight":
            tensor.zero_()
    stored["out_layer.0.weight"].fill_(1)
    stored["input_layer.bias"][6:] = torch.tensor([LARGE, -LARGE])
    for channel in range(outputs):
        for row, sign in ((2 * channel, 1), (2 * channel + 1, -1)):
            stored["input_layer.weight"][row, channel, 1, 1, 1] = sign
            stored["out_layer.2.weight"][channel, row, 1, 1, 1] = sign * LARGE / 2
    taps = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    kernels = torch.einsum("ai,bj,ck->abcijk", taps, taps, taps).flatten(0, 2)
    for name, tensor in stored.items():
        if name.endswith(".conv.weight"):
            for channel in range(6):
                tensor[8 * channel : 8 * channel + 8, channel] = kernels
        if name.endswith(".conv.bias"):
            tensor[48:56], tensor[56:] = LARGE, -LARGE
