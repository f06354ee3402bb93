"""How many FLOPs does a pass of the flow transformer take, counted and by formula?

A FLOP is half a multiply-add; matrix products and attention count, nothing else does. Counting runs
on the meta device, where nothing is computed, so that all blocks and all sizes can be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.generator.cases import CASES, CONTEXT_TOKENS, GUIDED, META, Case
from benchmarks.narrow import table
from pixal3d.flow import Condition, Flow, FlowConfig
from pixal3d.velocity import ConditionedFlow
from sparse3d.attention import token_layout
from sparse3d.sampling import guided
from sparse3d.transformer import TIME_CHANNELS

ALL_TERMS = 1 << 50  # bytes enough to keep every block's projection term
Pass = Literal["conditional", "unconditional", "guided"]


@dataclass(frozen=True)
class PassFlops:
    """FLOPs of one pass over N tokens, by what they are for.

    own: self-attention's and the feed-forward's layers, and first, last and time layers.
    attention: scores and mixtures among the tokens. image: queries, outputs and attention to the
    context. projection: one layer on every voxel's features, where its term is not kept.
    constant: what an unconditional pass computes in place of the last two.
    """

    own: int
    attention: int
    image: int
    projection: int
    constant: int

    @property
    def conditional(self) -> int:
        """With the projection's terms kept over the steps."""
        return self.own + self.attention + self.image

    @property
    def recomputing(self) -> int:
        """A conditional pass with the projection's terms computed in it."""
        return self.conditional + self.projection

    @property
    def unconditional(self) -> int:
        """Without the image."""
        return self.own + self.attention + self.constant

    @property
    def guided_ratio(self) -> float:
        """A guided step over an unguided one."""
        return 1 + self.unconditional / self.conditional


def formula(config: FlowConfig, tokens: int) -> PassFlops:
    """The closed form, from the sizes alone (one object, `CONTEXT_TOKENS` global tokens)."""
    width = config.model_channels
    hidden = int(width * config.mlp_ratio)
    ends = tokens * width * (config.in_channels + config.out_channels)
    time = width * (TIME_CHANNELS + width + 6 * width)
    own = tokens * (4 * width**2 + 2 * width * hidden) * config.num_blocks
    per_token = 2 * width**2 + 2 * CONTEXT_TOKENS * width
    return PassFlops(
        own=2 * (own + ends + time),
        attention=4 * tokens**2 * width * config.num_blocks,
        image=2 * tokens * per_token * config.num_blocks,
        projection=2 * tokens * width * (config.projected_channels or 0) * config.num_blocks,
        constant=2 * width**2 * config.num_blocks,
    )


def count(work: Callable[[], object]) -> int:
    """FLOPs of what a call computes, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def count_pass(
    config: FlowConfig,
    tokens: int,
    which: Pass,
    term_bytes: int = ALL_TERMS,
    batched: bool = False,
) -> int:
    """Count a pass, or a guided step, of a flow on one object of so many voxels.

    term_bytes, batched: as in `pixal3d.velocity`.
    """
    with META:
        flow = Flow(config, torch.bfloat16)
        layout = token_layout(torch.zeros(tokens, 3), (tokens,), config.head_dim)
        x = torch.zeros(tokens, config.in_channels)
        context = torch.zeros(1, CONTEXT_TOKENS, config.context_channels)
        projected = torch.zeros(tokens, config.projected_channels or 0)
    prepared = flow.prepare(Condition(context, projected), (tokens,), term_bytes)
    velocity = ConditionedFlow(flow, layout, prepared, batched=batched)
    works = {
        "conditional": lambda: velocity.conditional(x, 0.5),
        "unconditional": lambda: velocity.unconditional(x, 0.5),
        "guided": lambda: guided(velocity, x, 0.5, GUIDED, (tokens,), False),
    }
    return count(works[which])


def flops_table() -> str:
    """Counts of every case with all blocks, beside the closed form."""
    columns = (
        "tokens", "network", "blocks", "conditional pass", "the same by formula",
        "projection in the pass", "unconditional pass", "every parameter on every token",
        "guided over unguided", "by formula",
    )  # fmt: skip
    return table(columns, [_flops_row(case) for case in CASES])


def _flops_row(case: Case) -> list[str]:
    config, expected = case.config, formula(case.config, case.tokens)
    conditional = count_pass(config, case.tokens, "conditional")
    recomputing = count_pass(config, case.tokens, "conditional", term_bytes=0)
    guided_step = count_pass(config, case.tokens, "guided")
    with META:
        parameters = sum(p.numel() for p in Flow(config).parameters())
    everything = 2 * parameters * case.tokens + expected.attention
    totals = (conditional, expected.conditional, recomputing, guided_step - conditional, everything)
    return [
        f"{case.tokens}",
        case.network,
        f"{config.num_blocks}",
        *(f"{flops / 1e12:.1f} TFLOP" for flops in totals),
        f"{guided_step / conditional:.3f}",
        f"{expected.guided_ratio:.3f}",
    ]
