"""Which network does an official configuration describe? Class names and arguments to our modules.

The released checkpoints come as `<name>.json` = {"name": class, "args": {...}} beside
`<name>.safetensors`. Sizes of those released: Pixal3D, commit cdbb2bb, configs/gen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from pixal3d.dinov3 import DinoV3, DinoV3Config
from pixal3d.flow import Flow, FlowConfig
from pixal3d.latent_vae import (
    SHAPE_CHANNELS,
    SHAPE_INPUT_CHANNELS,
    LatentConfig,
    ShapeDecoder,
    ShapeEncoder,
    TextureDecoder,
)
from sparse3d.errors import BadConfiguration
from sparse3d.naf import build_naf
from sparse3d.structure_vae import StructureConfig, StructureDecoder, StructureEncoder
from sparse3d.weights import Arguments, NetworkSpec

# What every released flow has; a configuration that says otherwise is of another architecture.
FLOW_FEATURES = {
    "pe_mode": "rope",
    "share_mod": True,
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
}


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
    try:
        return BUILDERS[kind](arguments, body_dtype)
    except KeyError as error:
        raise BadConfiguration(f"the configuration of {kind} lacks {error.args[0]!r}") from None


def flow_config(arguments: Arguments) -> FlowConfig:
    """Sizes of a flow; only `image_attn_mode: proj` has a projection (TRELLIS.2 has none)."""
    for name, expected in FLOW_FEATURES.items():
        if arguments[name] != expected:
            raise BadConfiguration(f"{name} is {arguments[name]!r}: only {expected!r} is supported")
    context, projected = arguments["cond_channels"], None
    if arguments.get("image_attn_mode", "global") == "proj":
        projected = arguments.get("proj_in_channels") or context
    return FlowConfig(
        in_channels=arguments["in_channels"],
        out_channels=arguments["out_channels"],
        model_channels=arguments["model_channels"],
        context_channels=context,
        projected_channels=projected,
        num_blocks=arguments["num_blocks"],
        num_heads=arguments["num_heads"],
        mlp_ratio=arguments["mlp_ratio"],
    )


def _flow(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    stated = getattr(torch, arguments.get("dtype", "float32"))
    return Flow(flow_config(arguments), body_dtype or stated)


def _structure_decoder(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    config = _structure_config(arguments, arguments["out_channels"])
    return StructureDecoder(config, body_dtype or _stated_half(arguments))


def _structure_encoder(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    config = _structure_config(arguments, arguments["in_channels"])
    return StructureEncoder(config, body_dtype or _stated_half(arguments))


def _structure_config(arguments: Arguments, image_channels: int) -> StructureConfig:
    return StructureConfig(
        image_channels=image_channels,
        latent_channels=arguments["latent_channels"],
        channels=tuple(arguments["channels"]),
        blocks=arguments["num_res_blocks"],
        middle_blocks=arguments.get("num_res_blocks_middle", 2),
    )


def _shape_decoder(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    return ShapeDecoder(
        _latent_config(arguments, SHAPE_CHANNELS), body_dtype or _stated_half(arguments)
    )


def _texture_decoder(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    """The general decoder; the released one takes the shape's subdivisions and predicts none."""
    if arguments.get("pred_subdiv", True):
        raise BadConfiguration("a decoder that predicts its subdivision is FlexiDualGridVaeDecoder")
    config = _latent_config(arguments, arguments["out_channels"])
    return TextureDecoder(config, body_dtype or _stated_half(arguments))


def _shape_encoder(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    return ShapeEncoder(
        _latent_config(arguments, SHAPE_INPUT_CHANNELS), body_dtype or _stated_half(arguments)
    )


def _latent_config(arguments: Arguments, voxel_channels: int) -> LatentConfig:
    return LatentConfig(
        voxel_channels,
        arguments["latent_channels"],
        tuple(arguments["model_channels"]),
        tuple(arguments["num_blocks"]),
    )


def _stated_half(arguments: Arguments) -> torch.dtype:
    return torch.float16 if arguments.get("use_fp16", False) else torch.float32


def _dino(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    """DINOv3 by its Hugging Face configuration; float32 whatever the body's type."""
    if arguments.get("use_gated_mlp", False):
        raise BadConfiguration("use_gated_mlp is True: only the plain feed-forward is supported")
    sizes = DinoV3Config()
    return DinoV3(
        DinoV3Config(
            channels=arguments["hidden_size"],
            layers=arguments["num_hidden_layers"],
            heads=arguments["num_attention_heads"],
            mlp_channels=arguments["intermediate_size"],
            patch_size=arguments["patch_size"],
            registers=arguments["num_register_tokens"],
            rope_theta=arguments.get("rope_theta", sizes.rope_theta),
            norm_epsilon=arguments.get("layer_norm_eps", sizes.norm_epsilon),
        )
    )


def _naf(arguments: Arguments, body_dtype: torch.dtype | None) -> nn.Module:
    """float32 whatever the body's type."""
    return build_naf(arguments)


BUILDERS: Mapping[str, Callable[[Arguments, torch.dtype | None], nn.Module]] = {
    "SparseStructureFlowModel": _flow,
    "SLatFlowModel": _flow,
    "ElasticSLatFlowModel": _flow,
    "SparseStructureDecoder": _structure_decoder,
    "SparseStructureEncoder": _structure_encoder,
    "FlexiDualGridVaeDecoder": _shape_decoder,
    "FlexiDualGridVaeEncoder": _shape_encoder,
    "SparseUnetVaeDecoder": _texture_decoder,
    "DINOv3ViTModel": _dino,
    "NAF": _naf,
}

_FLOW: Arguments = {
    **FLOW_FEATURES,
    "model_channels": 1536,
    "cond_channels": 1024,
    "num_blocks": 30,
    "num_heads": 12,
    "mlp_ratio": 5.3334,
    "image_attn_mode": "proj",
    "dtype": "bfloat16",
}
_LEVELS: Arguments = {
    "model_channels": [1024, 512, 256, 128, 64],
    "latent_channels": 32,
    "num_blocks": [4, 16, 8, 4, 0],
    "use_fp16": True,
}
_STRUCTURE: Arguments = {
    "latent_channels": 8,
    "num_res_blocks": 2,
    "num_res_blocks_middle": 2,
    "use_fp16": True,
}


def _flow_spec(kind: str, inputs: int, outputs: int, projected: int | None) -> NetworkSpec:
    sizes = {"in_channels": inputs, "out_channels": outputs, "proj_in_channels": projected}
    return NetworkSpec(kind, {**_FLOW, **sizes})


# The released networks by our names; the two encoders are TRELLIS.2's, for training.
OFFICIAL: Mapping[str, NetworkSpec] = {
    "structure_flow": _flow_spec("SparseStructureFlowModel", 8, 8, None),
    "shape_flow_512": _flow_spec("ElasticSLatFlowModel", 32, 32, 2048),
    "shape_flow_1024": _flow_spec("ElasticSLatFlowModel", 32, 32, 2048),
    "texture_flow_1024": _flow_spec("ElasticSLatFlowModel", 64, 32, 2048),
    "structure_decoder": NetworkSpec(
        "SparseStructureDecoder", {**_STRUCTURE, "out_channels": 1, "channels": [512, 128, 32]}
    ),
    "structure_encoder": NetworkSpec(
        "SparseStructureEncoder", {**_STRUCTURE, "in_channels": 1, "channels": [32, 128, 512]}
    ),
    "shape_decoder": NetworkSpec("FlexiDualGridVaeDecoder", _LEVELS),
    "shape_encoder": NetworkSpec(
        "FlexiDualGridVaeEncoder",
        {
            **_LEVELS,
            "model_channels": [64, 128, 256, 512, 1024],
            "num_blocks": [0, 4, 8, 16, 4],
        },
    ),
    "texture_decoder": NetworkSpec(
        "SparseUnetVaeDecoder", {**_LEVELS, "out_channels": 6, "pred_subdiv": False}
    ),
    "image_encoder": NetworkSpec(
        "DINOv3ViTModel",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "patch_size": 16,
            "num_register_tokens": 4,
        },
    ),
    "upsampler": NetworkSpec("NAF", {}),
}
