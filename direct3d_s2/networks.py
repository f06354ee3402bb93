"""Which network does a released configuration describe? Class names and arguments to our modules.

The released config.yaml has, for each part, a class and its parameters. Sizes of the two releases:
config.yaml of wushuang98/Direct3D-S2, folders direct3d-s2-v-1-1 and direct3d-s2-v-1-0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from direct3d_s2.dit import DenseDit, DitConfig, SparseDit
from direct3d_s2.sparse_attention import AttentionSizes
from sparse3d.errors import BadConfiguration
from sparse3d.transformer import BlockSizes
from sparse3d.weights import Arguments


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


BUILDERS: Mapping[str, Callable[[Arguments, torch.dtype], nn.Module]] = {
    "DenseDiT": _dense_dit,
    "SparseDiT": _sparse_dit,
}
