"""How many FLOPs does a sampling step of each flow take, by formula and counted by torch?

A FLOP is half a multiply-add; matrix products, convolutions and attention count, nothing else does.
Dense layers are counted on the meta device. What a sparse one computes depends on where the voxels
are: it is counted while a CPU computes it, CUPID's flow with one block, and Direct3D-S2's attention
in one layer of few tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.generator.cases import META, filled
from benchmarks.generator.flops import count
from benchmarks.generator.flops import formula as pixal3d_flops
from benchmarks.generator.machine import random_tensor
from benchmarks.narrow import table
from benchmarks.papers.memory import CPU, around_sphere, attention_layer
from cupid.context import ImageContext
from cupid.latent_flow import LatentFlow, LatentFlowConfig, ResBlock
from cupid.networks import OFFICIAL as CUPID
from cupid.networks import build_network as build_cupid
from cupid.structure_flow import StructureFlow
from direct3d_s2.blocks import blocks_of
from direct3d_s2.dit import Conditioning, DenseDit, SparseDit
from direct3d_s2.networks import RELEASES
from direct3d_s2.networks import build_network as build_direct3d
from direct3d_s2.sparse_attention import AttentionSizes, TokenPlan, plan_tokens
from pixal3d.networks import OFFICIAL as PIXAL3D
from pixal3d.networks import flow_config
from sparse3d.sparse_conv import SparseConv
from sparse3d.transformer import TIME_CHANNELS, BlockSizes
from sparse3d.voxels import Voxels, coarsen
from sparse3d.weights import NetworkSpec

IMAGE_TOKENS = 1374  # of DINOv2: a class token, four registers and 37^2 patches
DIRECT3D = RELEASES["v1.1"]
LATENT_VOXELS = 16384
COUNTED = 4096  # tokens of a sparse pass that a CPU computes
SPARSE = {"sparse_dit_512": 16384, "sparse_dit_1024": 65536}
PIXAL3D_TOKENS = {"structure_flow": 4096, "shape_flow_512": 16384, "shape_flow_1024": 65536}


@dataclass(frozen=True)
class Pass:
    """A pass with the image. voxels, tokens: what is sampled, and what its transformer works on;
    blocks, flops: of the whole network; without_image: FLOPs of the other pass of a guided step;
    counted: by torch on the part that `counted_with` names, for which the formula gives `same`."""

    network: str
    voxels: int
    tokens: int
    blocks: int
    flops: int
    without_image: int
    counted_with: str
    counted: int
    same: int


def flops_table() -> str:
    """Every flow of the three systems."""
    passes = [cupid_structure(), cupid_latents(), direct3d_dense()]
    passes += [direct3d_sparse(name) for name in SPARSE]
    rows = [_row(one) for one in passes] + [_pixal3d_row(name) for name in PIXAL3D_TOKENS]
    columns = (
        "network", "voxels", "tokens", "blocks", "pass with the image", "guided step",
        "a token of a pass", "counted with", "by torch", "by formula",
    )  # fmt: skip
    return table(columns, rows)


def _row(one: Pass) -> list[str]:
    return [
        one.network, f"{one.voxels:,}", f"{one.tokens:,}", f"{one.blocks}",
        f"{one.flops / 1e12:.2f} TFLOP", f"{(one.flops + one.without_image) / 1e12:.2f} TFLOP",
        f"{one.flops / one.tokens / 1e9:.2f} GFLOP", one.counted_with,
        f"{one.counted / 1e12:.3f} TFLOP", f"{one.same / 1e12:.3f} TFLOP",
    ]  # fmt: skip


def _pixal3d_row(name: str) -> list[str]:
    """Its count is compared with its formula in the section on the generator."""
    tokens, config = PIXAL3D_TOKENS[name], flow_config(PIXAL3D[name].arguments)
    flops = pixal3d_flops(config, tokens)
    both = flops.conditional + flops.unconditional
    return [
        f"Pixal3D {name}", f"{tokens:,}", f"{tokens:,}", f"{config.num_blocks}",
        f"{flops.conditional / 1e12:.2f} TFLOP", f"{both / 1e12:.2f} TFLOP",
        f"{flops.conditional / tokens / 1e9:.2f} GFLOP", "-", "-", "-",
    ]  # fmt: skip


def cupid_structure() -> Pass:
    """CUPID's first stage, on the whole grid."""
    spec = CUPID["structure_flow"]
    with META:
        flow = cast(StructureFlow, build_cupid(spec.kind, spec.arguments, torch.float32))
        config = flow.config
        tokens = config.grid_size**3
        x, time = torch.zeros(tokens, config.in_channels), torch.zeros(1)
        keys = flow.prepare([ImageContext(torch.zeros(IMAGE_TOKENS, config.context_channels))])
        counted = count(lambda: flow(x, time, keys))

    def flops(image: int) -> int:
        block = block_flops(config.block_sizes, tokens, image)
        attention = full_attention_flops(config.model_channels, tokens)
        channels = config.in_channels + config.out_channels
        ends = ends_flops(config.model_channels, tokens, channels)
        return config.num_blocks * (block + attention) + ends

    with_image = flops(IMAGE_TOKENS)
    return Pass(
        "CUPID structure", tokens, tokens, config.num_blocks, with_image, flops(1), "all",
        counted, with_image,
    )  # fmt: skip


def cupid_latents() -> Pass:
    """CUPID's second stage, on a shell's voxels."""
    spec = CUPID["latent_flow"]
    voxels = around_sphere(LATENT_VOXELS)
    config, _ = _latent_flow(spec)
    tokens = len(coarsen(voxels).parents)
    _, single = _latent_flow(shortened(spec))
    flow = cast(LatentFlow, filled(single, CPU))
    channels = flow.config.in_channels + flow.config.condition_channels
    context = ImageContext(torch.zeros(IMAGE_TOKENS, flow.config.context_channels))
    prepared = flow.prepare(voxels, [context])
    x, time = torch.zeros(len(voxels), channels), torch.zeros(1)
    counted = count_on_cpu(lambda: flow(x, time, prepared))
    levels = level_flops(flow, voxels)

    def flops(image: int, blocks: int) -> int:
        block = block_flops(config.block_sizes, tokens, image)
        return blocks * (block + full_attention_flops(config.model_channels, tokens)) + levels

    with_image, without = (flops(image, config.num_blocks) for image in (IMAGE_TOKENS, 1))
    return Pass(
        "CUPID latents", len(voxels), tokens, config.num_blocks, with_image, without, "1 block",
        counted, flops(IMAGE_TOKENS, 1),
    )  # fmt: skip


def _latent_flow(spec: NetworkSpec) -> tuple[LatentFlowConfig, LatentFlow]:
    with META:
        flow = cast(LatentFlow, build_cupid(spec.kind, spec.arguments, torch.float32))
    return flow.config, flow


def direct3d_dense() -> Pass:
    """Direct3D-S2's first stage."""
    spec = DIRECT3D["dense_dit"]
    with META:
        dit = cast(DenseDit, build_direct3d(spec.kind, spec.arguments, torch.float32))
        config = dit.config
        tokens, width = len(dit.pos_emb), config.sizes.width
        x = torch.zeros(1, config.in_channels, *(config.grid,) * 3)
        image = Conditioning([torch.zeros(IMAGE_TOKENS, config.sizes.context_channels)])
        prepared, time = dit.prepare(image), torch.zeros(1)
        counted = count(lambda: dit(x, time, prepared))

    def flops(image: int) -> int:
        block = block_flops(config.sizes, tokens, image) + full_attention_flops(width, tokens)
        ends = ends_flops(width, tokens, config.in_channels + config.out_channels)
        return config.blocks * block + ends

    whole = flops(IMAGE_TOKENS)
    return Pass(
        "Direct3D-S2 dense", tokens, tokens, config.blocks, whole, flops(1), "all",
        counted, whole,
    )  # fmt: skip


def direct3d_sparse(name: str) -> Pass:
    """One of its sparse stages; counted on few voxels, which a CPU has to compute."""
    spec, tokens = DIRECT3D[name], SPARSE[name]
    with META:
        dit = cast(SparseDit, build_direct3d(spec.kind, spec.arguments, torch.float32))
    config, sizes = dit.config, dit.config.attention
    assert sizes is not None

    def flops(count: int, image: int) -> int:
        plan = plan_tokens(around_sphere(count), sizes, {0})
        own = sparse_attention_flops(sizes, plan)
        ends = ends_flops(config.sizes.width, count, config.in_channels + config.out_channels)
        return config.blocks * (block_flops(config.sizes, count, image) + own) + ends

    counted = _without_attention(dit, COUNTED) + config.blocks * attention_flops(COUNTED)
    whole, title = flops(tokens, IMAGE_TOKENS), f"Direct3D-S2 {name.replace('_dit_', ' ')}"
    return Pass(
        title, tokens, tokens, config.blocks, whole, flops(tokens, 1), f"{COUNTED:,} tokens",
        counted, flops(COUNTED, IMAGE_TOKENS),
    )  # fmt: skip


def _without_attention(dit: SparseDit, tokens: int) -> int:
    """All of a pass but the attention among tokens, counted on the meta device."""
    config = dit.config
    with META:
        image = Conditioning([torch.zeros(IMAGE_TOKENS, config.sizes.context_channels)])
        x, time = torch.zeros(tokens, config.in_channels), torch.zeros(1)
        prepared, places = dit.prepare(image), torch.zeros(tokens, config.sizes.width)
        others = [lambda hidden: hidden] * config.blocks
        return count(lambda: dit._velocity(x, time, places, others, prepared, (tokens,)))


@cache
def attention_flops(tokens: int) -> int:
    """One layer of sparse attention, counted while a CPU computes it."""
    layer = attention_layer()
    plan = plan_tokens(around_sphere(tokens), layer.sizes, {layer.shift})
    x = random_tensor(0, (tokens, layer.sizes.width), CPU)
    return count_on_cpu(lambda: layer(x, plan))


def count_on_cpu(work: Callable[[], object]) -> int:
    """FLOPs of what a CPU computes: torch's counter does not know its attention by itself."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def product(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object):
        batch, heads, queries, width = q
        return 2 * batch * heads * queries * k[2] * (width + v[3])

    with FlopCounterMode(display=False, custom_mapping={attention: product}) as counter:
        work()
    return counter.get_total_flops()


def shortened(spec: NetworkSpec) -> NetworkSpec:
    """The same network with one block."""
    return replace(spec, arguments={**spec.arguments, "num_blocks": 1})


def block_flops(sizes: BlockSizes, tokens: int, image: int) -> int:
    """A block without its self-attention: queries, outputs and attention to so many tokens of the
    image (their keys are computed before the first step), feed-forward, modulation."""
    width, hidden = sizes.width, int(sizes.width * sizes.mlp_ratio)
    per_token = 2 * width**2 + 2 * image * width + 2 * width * hidden
    return 2 * (tokens * per_token + 6 * width**2)


def full_attention_flops(width: int, tokens: int) -> int:
    """Self-attention among all tokens, with its layers."""
    return 2 * (4 * tokens * width**2 + 2 * tokens**2 * width)


def ends_flops(width: int, tokens: int, channels: int) -> int:
    """First and last layer, and that of the time; channels: in and out."""
    return 2 * (tokens * width * channels + width * (TIME_CHANNELS + width))


def sparse_attention_flops(sizes: AttentionSizes, plan: TokenPlan) -> int:
    """Spatial sparse attention with its layers, version 1 of the compressor: at most, every query
    reading the fullest blocks whole."""
    tokens, width = len(plan.voxels), sizes.width
    keys = sizes.key_heads * sizes.head_dim
    layers = tokens * (2 * width**2 + 2 * width * keys + 3 * width + 2 * keys**2)
    counts = blocks_of(plan.voxels.coords, sizes.selection_block).counts
    read = int(counts.topk(min(sizes.selected, len(counts))).values.sum())
    windows = sum(length**2 for length in next(iter(plan.windows.values())).lengths)
    pairs = tokens * (len(plan.compressed.counts) + read) + windows
    return 2 * (layers + 2 * pairs * width)


def level_flops(flow: LatentFlow, voxels: Voxels) -> int:
    """CUPID's residual blocks on both levels of the octree, and its first, last and time layers."""
    config, parents = flow.config, coarsen(voxels).parents
    width = config.model_channels
    channels = config.in_channels + config.condition_channels + config.out_channels
    total = 2 * (len(voxels) * config.io_channels[0] * channels + width * (TIME_CHANNELS + width))
    level = voxels
    for block in (*flow.input_blocks, *flow.out_blocks):
        assert isinstance(block, ResBlock)
        if block.moves:
            level = parents if block.moves == "down" else voxels
        pairs = sum(len(tap.rows) for tap in level.pairs)
        for module in block.modules():
            if isinstance(module, SparseConv):
                total += 2 * pairs * module.weight.shape[0] * module.weight.shape[-1]
        total += sum(2 * p.numel() for p in block.emb_layers.parameters() if p.ndim == 2)
        if isinstance(block.skip_connection, torch.nn.Linear):
            total += 2 * len(level) * block.skip_connection.weight.numel()
    return total
