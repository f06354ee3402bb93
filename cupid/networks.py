"""Which network does an official configuration describe? Class names and arguments to our modules.

The released checkpoints come as `<name>.json` = {"name": class, "args": {...}} beside
`<name>.safetensors`. Sizes of those released: Cupid, commit 10af9b2, configs/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from cupid.latent_flow import LatentFlow, LatentFlowConfig
from cupid.latent_vae import LatentEncoder, MeshDecoder
from cupid.structure_flow import StructureFlow, StructureFlowConfig
from sparse3d.dinov2 import KIND as DINOV2_KIND
from sparse3d.dinov2 import OFFICIAL_DINOV2, build_dinov2
from sparse3d.errors import BadConfiguration
from sparse3d.structure_vae import StructureConfig, StructureDecoder
from sparse3d.swin import SwinConfig
from sparse3d.weights import Arguments, NetworkSpec

# What every released flow has; a configuration that says otherwise is of another architecture.
FLOW_FEATURES = {"pe_mode": "ape", "share_mod": False}
SWIN_FEATURES = {"pe_mode": "ape", "attn_mode": "swin"}


def build_network(
    kind: str, arguments: Arguments, body_dtype: torch.dtype | None = None
) -> nn.Module:
    """The network of an official class and arguments, on the default device.

    body_dtype overrides the type that the configuration states for the network's body. Raises
    BadConfiguration for an unknown class, or features that no released network has.
    """
    if kind not in BUILDERS:
        raise BadConfiguration(
            f"unknown network class {kind!r}: expected one of {', '.join(BUILDERS)}"
        )
    stated = torch.float16 if arguments.get("use_fp16", False) else torch.float32
    try:
        return BUILDERS[kind](arguments, body_dtype or stated)
    except KeyError as error:
        raise BadConfiguration(f"the configuration of {kind} lacks {error.args[0]!r}") from None


def _structure_flow(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    _check_features(arguments, {**FLOW_FEATURES, "patch_size": 1})
    config = StructureFlowConfig(
        grid_size=arguments["resolution"],
        in_channels=arguments["in_channels"],
        out_channels=arguments["out_channels"],
        model_channels=arguments["model_channels"],
        context_channels=arguments["cond_channels"],
        num_blocks=arguments["num_blocks"],
        num_heads=_heads(arguments),
        mlp_ratio=arguments.get("mlp_ratio", 4),
        normed=arguments.get("qk_rms_norm", False),
        cross_normed=arguments.get("qk_rms_norm_cross", False),
    )
    return StructureFlow(config, dtype)


def _latent_flow(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    """Only the flow that sees pixels through the pose is released and of use here."""
    _check_features(arguments, FLOW_FEATURES)
    levels, sizes = tuple(arguments["io_block_channels"] or ()), LatentFlowConfig()
    if not levels or 2 ** len(levels) != arguments["patch_size"]:
        raise BadConfiguration(
            f"io_block_channels {list(levels)} and patch_size {arguments['patch_size']}: expected "
            "one width for each halving of the grid"
        )
    config = LatentFlowConfig(
        grid_size=arguments["resolution"],
        in_channels=arguments["in_channels"],
        out_channels=arguments["out_channels"],
        encoded_channels=arguments["cond_latent_channels"],
        visual_channels=tuple(arguments.get("visual_feat_channels", sizes.visual_channels)),
        visual_inputs=arguments.get("visual_input_channels", sizes.visual_inputs),
        visual_size=arguments.get("visual_feat_resolution", sizes.visual_size),
        visual_kernel=arguments.get("visual_conv_kernel_size", sizes.visual_kernel),
        model_channels=arguments["model_channels"],
        context_channels=arguments["cond_channels"],
        num_blocks=arguments["num_blocks"],
        num_heads=_heads(arguments),
        mlp_ratio=arguments.get("mlp_ratio", 4),
        io_channels=levels,
        io_blocks=arguments.get("num_io_res_blocks", sizes.io_blocks),
        skips=arguments.get("use_skip_connection", True),
        normed=arguments.get("qk_rms_norm", False),
        cross_normed=arguments.get("qk_rms_norm_cross", False),
    )
    return LatentFlow(config, dtype)


def _structure_decoder(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    """The occupancy decoder, and the UV cube's, which has two channels more."""
    config = StructureConfig(
        image_channels=arguments["out_channels"],
        latent_channels=arguments["latent_channels"],
        channels=tuple(arguments["channels"]),
        blocks=arguments["num_res_blocks"],
        middle_blocks=arguments.get("num_res_blocks_middle", 2),
    )
    return StructureDecoder(config, dtype)


def _latent_encoder(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    return LatentEncoder(
        _swin_config(arguments, arguments["in_channels"]), arguments["latent_channels"], dtype
    )


def _mesh_decoder(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    config = _swin_config(arguments, arguments["latent_channels"])
    colours = arguments["representation_config"].get("use_color", False)
    return MeshDecoder(config, arguments["resolution"], colours, dtype)


def _swin_config(arguments: Arguments, in_channels: int) -> SwinConfig:
    _check_features(arguments, SWIN_FEATURES)
    return SwinConfig(
        in_channels,
        arguments["model_channels"],
        arguments["num_blocks"],
        _heads(arguments),
        arguments.get("mlp_ratio", 4),
        arguments.get("window_size", 8),
        arguments.get("qk_rms_norm", False),
    )


def _dinov2(arguments: Arguments, dtype: torch.dtype) -> nn.Module:
    """DINOv2 by its Hugging Face configuration; float32 whatever the body's type."""
    return build_dinov2(arguments)


def _check_features(arguments: Arguments, expected: Arguments) -> None:
    for name, value in expected.items():
        if arguments.get(name, value) != value:
            raise BadConfiguration(f"{name} is {arguments[name]!r}: only {value!r} is supported")


def _heads(arguments: Arguments) -> int:
    """Heads as stated, else as many as make 64 channels each."""
    width = arguments["model_channels"]
    return arguments.get("num_heads") or width // arguments.get("num_head_channels", 64)


BUILDERS: Mapping[str, Callable[[Arguments, torch.dtype], nn.Module]] = {
    "SparseStructureFlowModel": _structure_flow,
    "VisualLatentConditioningSLatFlowModel": _latent_flow,
    "ElasticVisualLatentConditioningSLatFlowModel": _latent_flow,
    "SparseStructureDecoder": _structure_decoder,
    "SLatEncoder": _latent_encoder,
    "ElasticSLatEncoder": _latent_encoder,
    "SLatMeshDecoder": _mesh_decoder,
    "ElasticSLatMeshDecoder": _mesh_decoder,
    DINOV2_KIND: _dinov2,
}

_FLOW: Arguments = {
    "model_channels": 1024,
    "cond_channels": 1024,
    "num_blocks": 24,
    "num_heads": 16,
    "mlp_ratio": 4,
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": True,
}
_STRUCTURE: Arguments = {
    "latent_channels": 8,
    "num_res_blocks": 2,
    "num_res_blocks_middle": 2,
    "channels": [512, 128, 32],
    "use_fp16": True,
}
_LATENTS: Arguments = {
    "resolution": 64,
    "model_channels": 768,
    "latent_channels": 8,
    "num_blocks": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "attn_mode": "swin",
    "window_size": 8,
    "use_fp16": True,
}

# The released networks by our names.
OFFICIAL: Mapping[str, NetworkSpec] = {
    "structure_flow": NetworkSpec(
        "SparseStructureFlowModel",
        {**_FLOW, "resolution": 16, "in_channels": 16, "out_channels": 16, "patch_size": 1},
    ),
    "structure_decoder": NetworkSpec("SparseStructureDecoder", {**_STRUCTURE, "out_channels": 1}),
    "uv_decoder": NetworkSpec("SparseStructureDecoder", {**_STRUCTURE, "out_channels": 3}),
    "latent_flow": NetworkSpec(
        "ElasticVisualLatentConditioningSLatFlowModel",
        {
            **_FLOW,
            "resolution": 64,
            "in_channels": 8,
            "out_channels": 8,
            "cond_latent_channels": 8,
            "visual_feat_channels": [4, 4, 4, 4],
            "visual_feat_resolution": 256,
            "visual_conv_kernel_size": 3,
            "patch_size": 2,
            "num_io_res_blocks": 2,
            "io_block_channels": [128],
        },
    ),
    "latent_encoder": NetworkSpec("ElasticSLatEncoder", {**_LATENTS, "in_channels": 1024}),
    "mesh_decoder": NetworkSpec(
        "ElasticSLatMeshDecoder", {**_LATENTS, "representation_config": {"use_color": True}}
    ),
    "image_encoder": NetworkSpec(DINOV2_KIND, OFFICIAL_DINOV2),
}
