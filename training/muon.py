"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# A quintic whose iteration takes singular values to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
UPDATE_SIZE = 0.2  # root mean square of an update per unit of learning rate, as AdamW's


class Muon(torch.optim.Optimizer):
    """For the kernels of convolutions (O, I, k, k), seen as matrices (O, I * k * k)."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(
            list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(momentum, group["momentum"])  # Nesterov
                update = orthogonal(ahead.flatten(1)).view_as(parameter)
                size = UPDATE_SIZE * max(update.flatten(1).shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """(M, N) with the singular vectors of `matrix` and singular values near one.

    The iteration multiplies by polynomials in x x^T from the left. They commute, so they are
    multiplied with each other first: that is the smaller square, and a third of the work.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    square, identity = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * square + c * square @ square
        product = factor @ product
        square = factor @ square @ factor
    x = product @ x
    return x.T if tall else x
