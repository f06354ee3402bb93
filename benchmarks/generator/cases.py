"""What is measured: sizes, active voxels, and networks with random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.generator.machine import random_tensor
from pixal3d.flow import Condition, Flow, FlowConfig
from pixal3d.networks import OFFICIAL, flow_config
from sparse3d.sampling import Sampler
from sparse3d.voxels import Voxels, full_grid

CONTEXT_TOKENS = 5  # DINOv3's class token and four registers
GUIDED = Sampler(guidance=7.5, guidance_rescale=0.5)
META = torch.device("meta")
SHELL_RADIUS = 0.42  # of the grid's side: thick shells still stay inside


@dataclass(frozen=True)
class Case:
    """One size of the benchmark. grid: side of the voxel grid; tokens: how many are active."""

    name: str
    network: str
    grid: int
    tokens: int

    @property
    def config(self) -> FlowConfig:
        """The released sizes of its network."""
        return flow_config(OFFICIAL[self.network].arguments)

    def voxels(self, device: torch.device) -> Voxels:
        """Its active voxels: the whole grid, or a sphere's shell in it."""
        if self.tokens == self.grid**3:
            return full_grid(1, self.grid, device)
        return shell(self.grid, self.tokens, device)


CASES = (
    Case("4k", "structure_flow", 16, 16**3),
    Case("16k", "shape_flow_1024", 64, 16384),
    Case("49k", "shape_flow_1024", 96, 49152),
)


def shell(grid: int, tokens: int, device: torch.device) -> Voxels:
    """The `tokens` voxels of a grid that are nearest to a sphere, in the grid's order."""
    everything = full_grid(1, grid, device).coords
    centred = everything[:, 1:].float() - (grid - 1) / 2
    off = (centred.norm(dim=1) - SHELL_RADIUS * grid).abs()
    # Stable, so that ties fall the same way on every run.
    nearest = off.argsort(stable=True)[:tokens]
    return Voxels(everything[nearest.sort().values].contiguous())


def shortened(config: FlowConfig, blocks: int) -> FlowConfig:
    """The same network with fewer blocks."""
    return replace(config, num_blocks=min(blocks, config.num_blocks))


def filled(network: nn.Module, device: torch.device, seed: int = 0) -> nn.Module:
    """A network of the meta device with random weights on a device, ready to run.

    Gains are near 1, everything else small, so that values stay in range through all blocks.
    """
    network = network.to_empty(device=device).requires_grad_(False).eval()
    random = torch.Generator(device).manual_seed(seed)
    for name, values in [*network.named_parameters(), *network.named_buffers()]:
        values.normal_(0, 0.02, generator=random)
        if _is_gain(name, values):
            values.add_(1)
    return network


def _is_gain(name: str, values: Tensor) -> bool:
    return name.endswith(("gamma", "periods")) or (name.endswith("weight") and values.ndim == 1)


def random_flow(config: FlowConfig, dtype: torch.dtype, device: torch.device) -> Flow:
    """A flow with random weights."""
    with META:
        flow = Flow(config, dtype)
    filled(flow, device)
    return flow


def random_condition(config: FlowConfig, tokens: int, device: torch.device) -> Condition:
    """Random features of the size that the image networks give."""
    context = random_tensor(0, (1, CONTEXT_TOKENS, config.context_channels), device)
    return Condition(context, random_tensor(1, (tokens, config.projected_channels or 0), device))


def without_image(condition: Condition) -> Condition:
    """The zeros that the reference takes for an unconditional pass."""
    assert condition.projected is not None
    return replace(
        condition,
        context=torch.zeros_like(condition.context),
        projected=torch.zeros_like(condition.projected),
    )
