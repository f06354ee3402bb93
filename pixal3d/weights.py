"""Under which other names do released files keep the tensors of these networks? Loading by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from pixal3d.networks import build_network
from sparse3d import weights
from sparse3d.weights import NameRules, NetworkSource

# Stored names that no network has, and why they may be left out.
ALLOWED_EXTRA = {"rope_phases": "rotary phases, computed from the voxels' coordinates"}
# Stored names under which other versions keep a tensor: (found, ours), tried at the start only.
RENAMED_PREFIXES = (
    ("model.layer.", "layer."),
    ("model.norm.", "norm."),
    ("model.embeddings.", "embeddings."),
)
CROSS, PROJECTED_CROSS = ".cross_attn.", ".cross_attn.cross_attn_block."


def load_network(
    source: NetworkSource, device: str = "cpu", body_dtype: torch.dtype | None = None
) -> nn.Module:
    """A network of the cascade with the weights of its file; WeightsError as sparse3d.weights."""
    return weights.load_network(source, build_network, device, body_dtype, RULES)


def stored_types(source: NetworkSource, names: Iterable[str]) -> dict[str, torch.dtype]:
    """The type in which each of a network's tensors is stored; WeightsError as `load_network`."""
    return weights.stored_types(source, names, RULES)


def _names(stored: Iterable[str], names: set[str]) -> Callable[[str], str]:
    """TRELLIS.2 has no projection branch: its cross-attention is one level further out."""
    moved = any(PROJECTED_CROSS in n for n in names) and not any(
        PROJECTED_CROSS in n for n in stored
    )
    return partial(_our_name, moved=moved)


def _our_name(name: str, moved: bool) -> str:
    """A stored name as ours; newer DINOv3 files nest their layers."""
    for start, ours in RENAMED_PREFIXES:
        if name.startswith(start):
            return ours + name.removeprefix(start)
    return name.replace(CROSS, PROJECTED_CROSS) if moved else name


RULES = NameRules(_names, frozenset(ALLOWED_EXTRA))
