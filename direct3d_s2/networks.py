"""Which network does a released configuration describe? Class names and arguments to our modules.

The released config.yaml has, for each part, a class and its parameters. Sizes of the two releases:
config.yaml of wushuang98/Direct3D-S2, folders direct3d-s2-v-1-1 and direct3d-s2-v-1-0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from direct3d_s2.conditioning import BackProjection
from direct3d_s2.dit import DenseDit, DitConfig, SparseDit
from direct3d_s2.refiners import RefinerConfig, SignRefiner, SmoothingRefiner
from direct3d_s2.sdf_vae import SdfDecoder, SdfDecoderConfig
from direct3d_s2.sparse_attention import AttentionSizes
from sparse3d.dinov2 import KIND as DINO
from sparse3d.dinov2 import build_dinov2
from sparse3d.errors import BadConfiguration
from sparse3d.naf import build_naf
from sparse3d.structure_vae import StructureConfig, StructureDecoder
from sparse3d.transformer import BlockSizes
from sparse3d.weights import Arguments, NetworkSpec


def build_network(
    kind: str, arguments: Arguments, body_dtype: torch.dtype | None = None
) -> nn.Module:
    """The network of a released class and arguments, on the default device.

    body_dtype overrides the type that the configuration states for the network's body. Raises
    BadConfiguration for an unknown class, a parameter that is missing, or a feature that no
    released network has.
    """
    if kind not in BUILDERS:
        raise BadConfiguration(
            f"unknown network class {kind!r}: expected one of {', '.join(BUILDERS)}"
        )
    try:
        return BUILDERS[kind](arguments, body_dtype or _stated_half(arguments))
    except KeyError as error:
        raise BadConfiguration(f"the configuration of {kind} lacks {error.args[0]!r}") from None


def _stated_half(arguments: Arguments) -> torch.dtype:
    return torch.float16 if arguments.get("use_fp16", False) else torch.float32


def _dense_dit(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    config = DitConfig(
        grid=arguments["resolution"],
        in_channels=arguments["in_channels"],
        out_channels=arguments["out_channels"],
        blocks=arguments["num_blocks"],
        sizes=_block_sizes(arguments),
        patch_size=arguments.get("patch_size", 2),
    )
    if config.grid % config.patch_size:
        raise BadConfiguration(
            f"a grid of {config.grid} is not made of patches of {config.patch_size}"
        )
    return DenseDit(config, body_dtype)


def _sparse_dit(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    sizes = _block_sizes(arguments)
    attention = AttentionSizes(
        width=sizes.width,
        heads=sizes.heads,
        key_heads=arguments.get("num_kv_heads", 2),
        compression_block=arguments.get("compression_block_size", 4),
        selection_block=arguments.get("selection_block_size", 8),
        selected=arguments.get("topk", 8),
        compressor=arguments.get("compression_version", "v2"),
        window=arguments.get("window_size", 8),
    )
    if attention.compressor not in ("v1", "v2"):
        raise BadConfiguration(
            f"compression_version is {attention.compressor!r}: expected 'v1' or 'v2'"
        )
    if attention.selection_block % attention.compression_block:
        raise BadConfiguration(
            f"selection_block_size {attention.selection_block} is no multiple of "
            f"compression_block_size {attention.compression_block}"
        )
    config = DitConfig(
        grid=arguments["resolution"],
        in_channels=arguments["in_channels"],
        out_channels=arguments["out_channels"],
        blocks=arguments["num_blocks"],
        sizes=sizes,
        attention=attention,
        position_factor=arguments.get("factor", 1.0),
        shifted=arguments.get("use_shift", True),
        context_projected=arguments.get("sparse_conditions", False),
    )
    return SparseDit(config, body_dtype)


def _block_sizes(arguments: Arguments) -> BlockSizes:
    if arguments.get("pe_mode", "ape") != "ape":
        raise BadConfiguration(f"pe_mode is {arguments['pe_mode']!r}: only 'ape' is supported")
    width = arguments["model_channels"]
    return BlockSizes(
        width=width,
        context_channels=arguments["cond_channels"],
        heads=arguments.get("num_heads") or width // arguments.get("num_head_channels", 64),
        mlp_ratio=arguments.get("mlp_ratio", 4),
        shared_modulation=arguments.get("share_mod", False),
        normed=arguments.get("qk_rms_norm", False),
        cross_normed=arguments.get("qk_rms_norm_cross", False),
    )


def _dense_decoder(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    """The decoder of the dense VAE; its encoder is not needed to generate."""
    config = StructureConfig(
        image_channels=arguments.get("out_channels", 1),
        latent_channels=arguments["embed_dim"],
        channels=tuple(arguments.get("model_channels_decoder", (512, 128, 32))),
        blocks=arguments.get("num_res_blocks_decoder", 2),
        middle_blocks=arguments.get("num_res_blocks_middle_decoder", 2),
    )
    return StructureDecoder(config, body_dtype)


def _sdf_decoder(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    """The decoder of a sparse VAE; its encoder is not needed to generate."""
    if arguments.get("out_channels", 1) != 1:
        raise BadConfiguration(f"out_channels is {arguments['out_channels']}: only 1 is supported")
    width = arguments.get("model_channels_decoder", 512)
    config = SdfDecoderConfig(
        grid=arguments.get("resolution", 64),
        latent_channels=arguments["embed_dim"],
        width=width,
        blocks=arguments.get("num_blocks_decoder", 4),
        heads=arguments.get("num_heads_decoder", 8),
    )
    return SdfDecoder(config, body_dtype)


def _smoothing_refiner(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    return SmoothingRefiner(_refiner_config(arguments), body_dtype)


def _sign_refiner(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    return SignRefiner(_refiner_config(arguments), body_dtype)


def _refiner_config(arguments: Arguments) -> RefinerConfig:
    """feature_channels and widths are no released parameters: small networks of tests have them."""
    for name in ("in_channels", "out_channels"):
        if arguments.get(name, 1) != 1:
            raise BadConfiguration(f"{name} is {arguments[name]}: only 1 is supported")
    sizes = RefinerConfig()
    return RefinerConfig(
        side=arguments.get("res", sizes.side),
        patch=arguments.get("patch_size", sizes.patch),
        layers=arguments.get("layers_per_block", sizes.layers),
        middle_layers=arguments.get("layers_mid_block", sizes.middle_layers),
        feature_channels=arguments.get("feature_channels", sizes.feature_channels),
        widths=tuple(arguments.get("widths", sizes.widths)),
    )


def _dino(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    """float32 whatever the body's type."""
    return build_dinov2(arguments)


def _naf(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    """float32 whatever the body's type."""
    return build_naf(arguments)


def _back_projection(arguments: Arguments, body_dtype: torch.dtype) -> nn.Module:
    return BackProjection(arguments["widths"], arguments["feature_channels"])


BUILDERS: Mapping[str, Callable[[Arguments, torch.dtype], nn.Module]] = {
    "DenseDiT": _dense_dit,
    "SparseDiT": _sparse_dit,
    "DenseShapeVAE": _dense_decoder,
    "SparseSDFVAE": _sdf_decoder,
    "Voxel_RefinerXL": _smoothing_refiner,
    "Voxel_RefinerXL_sign": _sign_refiner,
    DINO: _dino,
    "NAF": _naf,
    "BackProjection": _back_projection,
}

_DIT: Arguments = {
    "model_channels": 1024,
    "cond_channels": 1024,
    "num_blocks": 24,
    "mlp_ratio": 4,
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": True,
}
_SPARSE_DIT: Arguments = {
    **_DIT,
    "in_channels": 16,
    "out_channels": 16,
    "num_heads": 32,
    "num_kv_heads": 2,
    "selection_block_size": 8,
}
_V1_1: Arguments = {"compression_block_size": 8, "compression_version": "v1", "topk": 8}
_V1_0: Arguments = {
    "compression_block_size": 4,
    "compression_version": "v2",
    "sparse_conditions": True,
}
_SDF_VAE: Arguments = {
    "embed_dim": 16,
    "model_channels_decoder": 512,
    "num_blocks_decoder": 4,
    "num_heads_decoder": 8,
    "use_fp16": True,
}


def _release(coarse: Arguments, fine: Arguments) -> dict[str, NetworkSpec]:
    """Every part by our name, with what the two sparse transformers differ in."""
    return {
        "dense_dit": NetworkSpec(
            "DenseDiT",
            {
                **_DIT,
                "resolution": 16,
                "in_channels": 8,
                "out_channels": 8,
                "num_heads": 16,
                "patch_size": 1,
            },
        ),
        "dense_decoder": NetworkSpec(
            "DenseShapeVAE",
            {
                "embed_dim": 8,
                "model_channels_decoder": [512, 128, 64],
                "num_res_blocks_decoder": 4,
                "num_res_blocks_middle_decoder": 4,
                "use_fp16": True,
            },
        ),
        "sparse_dit_512": NetworkSpec(
            "SparseDiT", {**_SPARSE_DIT, "resolution": 64, "factor": 1.0, **coarse}
        ),
        "sparse_dit_1024": NetworkSpec(
            "SparseDiT", {**_SPARSE_DIT, "resolution": 128, "factor": 0.5, **fine}
        ),
        "sdf_decoder_512": NetworkSpec("SparseSDFVAE", {**_SDF_VAE, "resolution": 64}),
        "sdf_decoder_1024": NetworkSpec(
            "SparseSDFVAE", {**_SDF_VAE, "resolution": 128, "chunk_size": 4}
        ),
        "refiner": NetworkSpec("Voxel_RefinerXL", {"patch_size": 192, "use_fp16": True}),
        "refiner_1024": NetworkSpec("Voxel_RefinerXL_sign", {"patch_size": 256, "use_fp16": True}),
    }


# What each release says, for tests and benchmarks; a folder's own config.yaml is what counts.
RELEASES: Mapping[str, Mapping[str, NetworkSpec]] = {
    "v1.1": _release(_V1_1, _V1_1),
    "v1.0": _release({**_V1_0, "topk": 32}, {**_V1_0, "topk": 8}),
}
