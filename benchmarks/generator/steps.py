"""How long does a sampling step take, and how much of the machine's peak does it reach?

Random weights of official widths: time does not depend on what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.generator.cases import (
    CASES,
    GUIDED,
    Case,
    random_condition,
    random_flow,
    shortened,
)
from benchmarks.generator.flops import count_pass
from benchmarks.generator.machine import (
    UNKNOWN,
    Budget,
    Machine,
    gigabytes,
    peak_bytes,
    random_tensor,
    start_peak,
    stopwatch,
)
from benchmarks.narrow import table
from pixal3d.cascade import GenerationOptions
from pixal3d.flow import FlowConfig
from pixal3d.velocity import ConditionedFlow, conditioned
from sparse3d.sampling import guided

# On a CPU a step of all 30 blocks takes minutes; the blocks are alike.
CPU_BLOCKS = {"4k": 2, "16k": 1, "49k": 1}
# Layers reach about half of the peak on a CPU; what is left out is left out by this estimate.
ASSUMED_FRACTION = 0.4
ROUNDS = 2
COLUMNS = (
    "tokens", "blocks", "body", "conditional step", "unconditional step", "guided step",
    "guided over unguided", "weights", "memory beside them", "achieved", "share of the peak",
)  # fmt: skip


@dataclass(frozen=True)
class StepCost:
    """Seconds of both passes and of the guided step that they are part of; bytes."""

    conditional_s: float
    unconditional_s: float
    guided_s: float
    weight_bytes: int
    peak_bytes: int | None


@dataclass(frozen=True, eq=False)
class TimedVelocity:
    """A velocity that notes the seconds of every pass: a guided step then times both of its own."""

    inner: ConditionedFlow
    device: torch.device
    conditional_s: list[float] = field(default_factory=list)
    unconditional_s: list[float] = field(default_factory=list)

    def conditional(self, x: Tensor, time: float) -> Tensor:
        with stopwatch(self.device) as seconds:
            v = self.inner.conditional(x, time)
        self.conditional_s.extend(seconds)
        return v

    def unconditional(self, x: Tensor, time: float) -> Tensor:
        with stopwatch(self.device) as seconds:
            v = self.inner.unconditional(x, time)
        self.unconditional_s.extend(seconds)
        return v

    def both(self, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
        return self.conditional(x, time), self.unconditional(x, time)


def steps_table(machine: Machine, budget: Budget) -> str:
    """Every case with the official bfloat16 body; on a CPU in float32 as well."""
    types = [torch.bfloat16]
    if machine.device.type == "cpu":
        types.insert(0, torch.float32)
    return table(COLUMNS, [_row(c, dtype, machine, budget) for c in CASES for dtype in types])


def _row(case: Case, dtype: torch.dtype, machine: Machine, budget: Budget) -> list[str]:
    on_cpu = machine.device.type == "cpu"
    config = shortened(case.config, CPU_BLOCKS[case.name]) if on_cpu else case.config
    named = [
        f"{case.tokens}",
        f"{config.num_blocks} of {case.config.num_blocks}",
        str(dtype).removeprefix("torch."),
    ]
    work = count_pass(config, case.tokens, "conditional", GenerationOptions().term_bytes)
    if on_cpu and (reason := _too_long(config, case.tokens, dtype, machine, budget)):
        return [*named, f"{UNKNOWN} ({reason})", *["-"] * (len(COLUMNS) - 4)]
    cost = measure_step(case, config, dtype, machine.device)
    rate = work / cost.conditional_s
    return [
        *named,
        *(f"{s:.3g} s" for s in (cost.conditional_s, cost.unconditional_s, cost.guided_s)),
        f"{cost.guided_s / cost.conditional_s:.2f}",
        gigabytes(cost.weight_bytes),
        gigabytes(cost.peak_bytes),
        f"{rate / 1e12:.3g} TFLOP/s",
        f"{rate / machine.matmul[dtype]:.0%}",
    ]


def _too_long(
    config: FlowConfig, tokens: int, dtype: torch.dtype, machine: Machine, budget: Budget
) -> str:
    """Why a guided step does not fit into what is left of the budget; empty where it does."""
    attention = 4 * tokens**2 * config.model_channels * config.num_blocks
    work = count_pass(config, tokens, "guided", GenerationOptions().term_bytes)
    expected_s = 2 * attention / machine.attention[dtype]
    expected_s += (work - 2 * attention) / (ASSUMED_FRACTION * machine.matmul[dtype])
    if expected_s < budget.left_s:
        return ""
    left = max(0, round(budget.left_s))
    return f"a guided step of {work / 1e12:.1f} TFLOP does not fit into the {left} s left"


def measure_step(
    case: Case, config: FlowConfig, dtype: torch.dtype, device: torch.device
) -> StepCost:
    """One guided step, least of a few where they are short; each pass runs alone."""
    velocity, x = random_velocity(case, config, dtype, device)
    weight_bytes = sum(p.numel() * p.element_size() for p in velocity.flow.parameters())
    timed, guided_s = TimedVelocity(velocity, device), []
    if device.type == "cuda":
        guided(velocity, x, 0.5, GUIDED, (len(x),), False)
    held = start_peak(device)
    for _ in range(ROUNDS if device.type == "cuda" or case == CASES[0] else 1):
        with stopwatch(device) as seconds:
            guided(timed, x, 0.5, GUIDED, (len(x),), False)
        guided_s += seconds
    peak = peak_bytes(device)
    beyond = None if held is None or peak is None else max(0, peak - held)
    # One round's figures belong together: a ratio across rounds would mix disturbances.
    best = guided_s.index(min(guided_s))
    return StepCost(
        timed.conditional_s[best], timed.unconditional_s[best], guided_s[best], weight_bytes, beyond
    )


def random_velocity(
    case: Case, config: FlowConfig, dtype: torch.dtype, device: torch.device
) -> tuple[ConditionedFlow, Tensor]:
    """A flow with random weights on random features, two passes per guided step, and noise."""
    flow, seen = random_flow(config, dtype, device), random_condition(config, case.tokens, device)
    velocity = conditioned(
        flow, case.voxels(device), seen, term_bytes=GenerationOptions().term_bytes
    )
    return velocity, random_tensor(2, (case.tokens, config.in_channels), device)
