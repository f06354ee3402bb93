"""How do several processes share a step? Each takes some of its parts and adds up gradients.

A step's gradient is the weighted mean over the recipe's parts. Parts are numbered and have
generators of their own, so what comes out does not depend on how many processes there were.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor, nn

from training.common.task import Draw, Task, moved

Batch = TypeVar("Batch")
Errors = dict[str, Tensor]  # of a part, for the learning curve


def use_one_thread() -> None:
    """Small convolutions gain little from threads; processes share the work instead."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes."""
    return [p for p in network.parameters() if p.requires_grad]


def add_gradient(
    task: Task[Batch], network: nn.Module, batch: Batch, fraction: float, device: str
) -> Errors:
    """Add one part's share of a step's gradient to that of the network's parameters."""
    loss = task.loss(network, moved(batch, device))
    (loss.total * fraction).backward()
    return loss.errors


class Crew:
    """Processes that compute a step's other parts while this one computes the first."""

    def __init__(self, task: Task[Any], network: nn.Module, count: int) -> None:
        """count: how many, at most one per part but the first."""
        size = sum(p.numel() for p in trained(network))
        self._weights = torch.zeros(size).share_memory_()
        self._gradients = [torch.zeros(size).share_memory_() for _ in range(count)]
        self._pipes: list[Connection] = []
        self._processes = []
        context: Any = multiprocessing.get_context("spawn")
        for index, gradient in enumerate(self._gradients):
            ours, theirs = context.Pipe()
            parts = [p for p in range(1, len(task.recipe.parts)) if (p - 1) % count == index]
            process = context.Process(
                target=_help, args=(task, parts, self._weights, gradient, theirs), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def begin(self, network: nn.Module, step: int) -> None:
        """Hand the weights over and let the helpers start on a step."""
        with torch.no_grad():
            self._weights.copy_(torch.cat([p.flatten() for p in trained(network)]))
        for pipe in self._pipes:
            pipe.send(step)

    def finish(self, network: nn.Module) -> list[Errors]:
        """Wait for the helpers and add their gradients."""
        errors: list[Errors] = []
        for pipe, gradient in zip(self._pipes, self._gradients, strict=True):
            errors += pipe.recv()
            start = 0
            for p in trained(network):
                assert p.grad is not None  # the first part has been computed
                p.grad += gradient[start : start + p.numel()].view_as(p)
                start += p.numel()
        return errors

    def stop(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()


def _help(
    task: Task[Any], parts: list[int], weights: Tensor, gradient: Tensor, pipe: Connection
) -> None:
    """What a helper does until it is told to stop."""
    use_one_thread()
    draw, network = task.open_batches(), task.new_network()
    parameters = trained(network)
    while (step := pipe.recv()) is not None:
        start = 0
        with torch.no_grad():
            for p in parameters:
                p.copy_(weights[start : start + p.numel()].view_as(p))
                p.grad = None
                start += p.numel()
        errors = []
        for part in parts:
            found = add_gradient(task, network, draw(step, part), task.recipe.parts[part], "cpu")
            errors.append({name: float(error) for name, error in found.items()})
        with torch.no_grad():
            flat = [p.grad.flatten() for p in parameters if p.grad is not None]
            gradient.copy_(torch.cat(flat))
        pipe.send(errors)


class Steps(torch.utils.data.Dataset[list[Any]]):
    """Every step's parts, by the step's number; processes of a loader draw them ahead."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._draw: Draw[Any] | None = None

    def __len__(self) -> int:
        return self._task.recipe.steps

    def __getitem__(self, step: int) -> list[Any]:
        if self._draw is None:  # opened by the process that reads it
            cv2.setNumThreads(1)
            self._draw = self._task.open_batches()
        return [self._draw(step, part) for part in range(len(self._task.recipe.parts))]


def drawn_ahead(task: Task[Batch], first: int) -> Iterator[list[Batch]]:
    """The parts of steps from the first on, drawn by other processes while a GPU computes."""
    processes = max((os.cpu_count() or 1) - 1, 1)
    yield from torch.utils.data.DataLoader(
        Steps(task), sampler=range(first, task.recipe.steps), batch_size=None,
        num_workers=processes, prefetch_factor=4, multiprocessing_context="spawn",
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
