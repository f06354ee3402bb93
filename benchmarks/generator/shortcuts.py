"""What do the shortcuts inside a sampling step save?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.generator.cases import (
    CASES,
    GUIDED,
    Case,
    random_condition,
    random_flow,
    shortened,
    without_image,
)
from benchmarks.generator.compare import Comparison, NotMeasured, compare
from benchmarks.generator.flops import ALL_TERMS
from benchmarks.generator.machine import random_tensor
from pixal3d.flow import Flow
from pixal3d.velocity import ConditionedFlow, conditioned
from sparse3d.sampling import guided

CPU_BLOCKS = 1
TIME = 0.5
# bfloat16 has 8 bits; over 30 blocks of random weights roundings add up to some percent.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
SMALL = CASES[0]
# The size of the smallest case, with the wide projection of the sparse stages.
SPARSE = Case("4k", "shape_flow_1024", 16, 16**3)
COMPILED = "compiled by torch.compile"


def compare_unconditional(device: torch.device) -> Comparison:
    """The constant that the image branch is without an image, and zeros sent through it."""
    flow, setting = _flow_for(SPARSE, device)
    seen = random_condition(flow.config, SPARSE.tokens, device)
    voxels, x = SPARSE.voxels(device), _noise(flow, SPARSE)
    zeros = conditioned(flow, voxels, without_image(seen))
    simple = conditioned(flow, voxels, seen)
    variants = (lambda: zeros.conditional(x, TIME), lambda: simple.unconditional(x, TIME))
    return _compared("unconditional pass: a constant, not zeros", setting, variants, flow, device)


def compare_terms(device: torch.device) -> Comparison:
    """Projection terms kept over the steps, and computed in every step."""
    flow, setting = _flow_for(SPARSE, device)
    seen = random_condition(flow.config, SPARSE.tokens, device)
    voxels, x = SPARSE.voxels(device), _noise(flow, SPARSE)
    again = conditioned(flow, voxels, seen, term_bytes=0)
    kept = conditioned(flow, voxels, seen, term_bytes=ALL_TERMS)
    variants = (lambda: again.conditional(x, TIME), lambda: kept.conditional(x, TIME))
    return _compared("projection terms kept over the steps", setting, variants, flow, device)


def compare_batched(device: torch.device) -> Comparison:
    """Both halves of a guided step in one pass, and one after the other."""
    flow, setting = _flow_for(SMALL, device)
    seen, x = random_condition(flow.config, SMALL.tokens, device), _noise(flow, SMALL)
    two = conditioned(flow, SMALL.voxels(device), seen, term_bytes=ALL_TERMS)
    one = replace(two, batched=True)

    def step(velocity: ConditionedFlow) -> Tensor:
        return guided(velocity, x, TIME, GUIDED, (len(x),), False)

    note = " (no gain expected: the CPU is full already)" if device.type == "cpu" else ""
    variants = (lambda: step(two), lambda: step(one))
    return _compared("guided step as one pass", setting + note, variants, flow, device)


def compare_compiled(device: torch.device) -> Comparison | NotMeasured:
    """Steps between matrix products through torch.compile, where a graphics card is present."""
    if device.type != "cuda":
        return NotMeasured(COMPILED, "blocks of the flow", "no GPU")
    flow, setting = _flow_for(SMALL, device)
    compiled, _ = _flow_for(SMALL, device)
    compiled.compile_steps()
    seen, x = random_condition(flow.config, SMALL.tokens, device), _noise(flow, SMALL)
    plain, fast = (
        conditioned(f, SMALL.voxels(device), seen, term_bytes=ALL_TERMS) for f in (flow, compiled)
    )
    variants = (lambda: plain.conditional(x, TIME), lambda: fast.conditional(x, TIME))
    return _compared(COMPILED, setting, variants, flow, device)


def _flow_for(case: Case, device: torch.device) -> tuple[Flow, str]:
    """All blocks in bfloat16 on a graphics card, few in float32 elsewhere; and its description."""
    on_card = device.type == "cuda"
    dtype = torch.bfloat16 if on_card else torch.float32
    config = case.config if on_card else shortened(case.config, CPU_BLOCKS)
    named = str(dtype).removeprefix("torch.")
    setting = (
        f"{case.tokens} tokens, {config.num_blocks} of {case.config.num_blocks} blocks, {named}"
    )
    return random_flow(config, dtype, device), setting


def _noise(flow: Flow, case: Case) -> Tensor:
    device = flow.input_layer.weight.device
    return random_tensor(2, (case.tokens, flow.config.in_channels), device)


def _compared(
    what: str,
    setting: str,
    variants: tuple[Callable[[], Tensor], Callable[[], Tensor]],
    flow: Flow,
    device: torch.device,
) -> Comparison:
    return compare(what, setting, variants, device, TOLERANCES[flow.body_dtype])
