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
            keep, shrink = group["momentum"], 1 - group["lr"] * group["weight_decay"]
            for parameters in _by_shape(group["params"]):
                ahead = torch.stack([self._ahead(p, keep) for p in parameters])
                size = UPDATE_SIZE * max(ahead.shape[1:]) ** 0.5
                for parameter, update in zip(parameters, orthogonal(ahead), strict=True):
                    parameter.mul_(shrink)
                    parameter.add_(update.view_as(parameter), alpha=-group["lr"] * size)

    def _ahead(self, parameter: Tensor, keep: float) -> Tensor:
        """(O, I * k * k) Nesterov's momentum of a parameter."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # of those that `_by_shape` returns
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - keep)
        return gradient.lerp(momentum, keep).flatten(1)


def _by_shape(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Those with a gradient, by shape: a GPU takes as long for one small matrix as for ten."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append(parameter)
    return list(groups.values())


def orthogonal(matrices: Tensor) -> Tensor:
    """(B, M, N) with the singular vectors of `matrices` and singular values near one.

    The iteration multiplies by polynomials in x x^T from the left. They commute, so they are
    multiplied with each other first: that is the smaller square, and a third of the work.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    shift = a * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    square, product = torch.bmm(x, x.mT), None
    for _ in range(ITERATIONS):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c) + shift
        product = factor if product is None else torch.bmm(factor, product)
        square = torch.bmm(torch.bmm(factor, square), factor)
    assert product is not None
    x = torch.bmm(product, x)
    return x.mT if tall else x
