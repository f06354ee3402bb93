"""In which types do a checkpoint's networks compute, and are its numbers those that were released?

The released flows are float32, the released decoders float16 and float32 (TencentARC/Pixal3D). A
repack may store all of them in bfloat16: what computes in a finer type then has lost digits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pixal3d.checkpoints import Checkpoint
from pixal3d.networks import build_network
from pixal3d.weights import stored_types
from sparse3d.weights import NetworkSource

GROUPS: Mapping[str, tuple[str, ...]] = {
    "flows": ("structure_flow", "shape_flow_512", "shape_flow_1024", "texture_flow_1024"),
    "decoders": ("structure_decoder", "shape_decoder", "texture_decoder"),
    "image networks": ("image_encoder", "upsampler"),
}


def describe_precision(checkpoint: Checkpoint, body_dtype: torch.dtype | None) -> str:
    """One line: in which types each group of networks computes, and what is not as released.

    body_dtype: of the networks' bodies, None as released. Reads the heads of the files alone.
    """
    parts = []
    for group, names in GROUPS.items():
        sources = [checkpoint.networks[name] for name in names if name in checkpoint.networks]
        computing = {dtype for s in sources for dtype in computing_types(s, body_dtype).values()}
        rounded = {dtype for s in sources for dtype in _rounded(s)}
        lost = f", of numbers rounded to {_names(rounded)}" if rounded else ""
        parts.append(f"{group} in {_names(computing)}{lost}")
    return "; ".join(parts)


def computing_types(
    source: NetworkSource, body_dtype: torch.dtype | None
) -> dict[str, torch.dtype]:
    """The type that each tensor of a network computes in."""
    with torch.device("meta"):
        network = build_network(source.spec.kind, source.spec.arguments, body_dtype)
    return {name: tensor.dtype for name, tensor in network.state_dict().items()}


def _rounded(source: NetworkSource) -> set[torch.dtype]:
    """The stored types that are coarser than the ones in which the released network computes."""
    released = computing_types(source, None)
    stored = stored_types(source, released)
    floating = {name: stored[name] for name in released if stored[name].is_floating_point}
    return {
        dtype
        for name, dtype in floating.items()
        if torch.finfo(dtype).eps > torch.finfo(released[name]).eps
    }


def _names(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
