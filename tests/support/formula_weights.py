"""Weights and inputs by a formula, so that a fixture of the public code holds its answers alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def numbers(*shape: int, stream: int = 0) -> Tensor:
    """Numbers of one stream, spread evenly over [-1, 1): float32, the same on every machine."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = torch.sin(count * 12.9898 + stream * 78.233) * 43758.5453
    return (2 * (values - values.floor()) - 1).float().reshape(shape)


def fill(network: nn.Module) -> nn.Module:
    """Give every parameter its numbers, streams in the order of the names.

    Matrices keep the spread of what goes through them; factors of norms are about 1.
    """
    parameters = sorted(network.named_parameters())
    with torch.no_grad():
        for stream, (name, parameter) in enumerate(parameters):
            values = numbers(*parameter.shape, stream=stream)
            if parameter.ndim > 1 and "gamma" not in name:
                values = values * (3 / parameter[0].numel()) ** 0.5
            elif name.endswith("bias"):
                values = 0.3 * values
            else:
                values = 1 + 0.4 * values
            parameter.copy_(values)
    return network.eval()
