"""What does a network's own code give the trainer? Recipe, network, batches, loss, measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")
# Of a step and a part: the batch, on the CPU; the same ones give the same bytes.
Draw = Callable[[int, int], Batch]


@dataclass(frozen=True)
class Recipe:
    """What all recipes say; a network's own one adds to it.

    steps; seed; parts: each part's share of a step's samples (processes that share a step take
    whole parts); rate, adam_rate: of learning, by Muon and by AdamW; check_every: steps between two
    checkpoints.
    """

    steps: int
    seed: int = 0
    parts: tuple[float, ...] = (1.0,)
    rate: float = 2e-3
    adam_rate: float = 1.2e-3
    check_every: int = 500


class Loss(NamedTuple):
    """The sum to minimise, and errors without gradients that the learning curve shows by name."""

    total: Tensor
    errors: dict[str, Tensor]


@dataclass(frozen=True)
class Task(Generic[Batch]):
    """One network's training. The fields are sent to other processes: functions of modules.

    new_network: with the seed's initial weights; what it has no gradients for stays as it is, and
    running statistics are not kept in step. open_batches: opens the data, returns what draws a
    batch, a tensor or (nested) NamedTuple of tensors. loss: of a network on a batch that is on
    its device. measured: figures of the averaged network on samples that no batch shows. by_adam:
    how the names of layers begin that are the network's first or last, which Muon is not for.
    """

    recipe: Recipe
    new_network: Callable[[], nn.Module]
    open_batches: Callable[[], Draw[Batch]]
    loss: Callable[[nn.Module, Batch], Loss]
    measured: Callable[[nn.Module], dict[str, float]]
    by_adam: tuple[str, ...] = ("stem",)


def moved(batch: Any, device: str) -> Any:
    """A tensor, or a NamedTuple of such, on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return type(batch)(*(moved(values, device) for values in batch))
