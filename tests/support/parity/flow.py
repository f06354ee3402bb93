"""Flow transformers: dense sparse-structure, sparse shape and texture."""

from __future__ import annotations

import torch
from torch import Tensor

from pixal3d.flow import Condition, Flow, PreparedCondition
from pixal3d.networks import build_network
from sparse3d.voxels import Voxels, full_grid
from support.parity.fixture import Fixture

# With the official types the reference itself moves by this much; we may be half as far again.
HALF_PRECISION_MARGIN = 1.5


def structure_flow(fixture: Fixture) -> None:
    """The dense network over all voxels of the grid, with and without its condition."""
    x, t = fixture.input("x"), fixture.input("t")
    batch, channels, side = x.shape[0], x.shape[1], x.shape[2]
    voxels = full_grid(batch, side)
    rows = x.flatten(2).transpose(1, 2).flatten(0, 1)
    projected = fixture.input("cond_proj").flatten(0, 1)
    condition = Condition(fixture.input("cond_global"), projected)

    def dense(v: Tensor) -> Tensor:
        return v.unflatten(0, (batch, -1)).transpose(1, 2).reshape(batch, -1, side, side, side)

    flow = _load(fixture, torch.float32)
    assert channels == flow.config.in_channels
    fixture.compare("v", dense(_velocity(flow, rows, t, voxels, condition)))
    fixture.compare("v_uncond", dense(flow(rows, t, flow.layout(voxels), None)))
    zeros = Condition(torch.zeros_like(condition.context), torch.zeros_like(projected))
    fixture.compare("v_uncond", dense(_velocity(flow, rows, t, voxels, zeros)))
    fixture.compare("debug_t_emb", flow.t_embedder(t))
    if "rope_phases" in str(fixture.sidecar["layout_of_tensors"]):
        phases = fixture.tensors["buffers/rope_phases.real_view"]
        layout = flow.layout(full_grid(1, side))
        torch.testing.assert_close(torch.stack([layout.cos, layout.sin], -1)[:, 0], phases)
    half = _load(fixture, torch.bfloat16)
    _compare_half(fixture, dense(_velocity(half, rows, t, voxels, condition)))


def latent_flow(fixture: Fixture) -> None:
    """A sparse network; the texture network reads the shape latent beside the noisy one."""
    x, t = fixture.input("feats"), fixture.input("t")
    if "inputs/concat_feats" in fixture.tensors:
        x = torch.cat([x, fixture.input("concat_feats")], -1)
    voxels = Voxels(fixture.input("coords"))
    condition = Condition(fixture.input("cond_global"), fixture.input("cond_proj"))
    flow = _load(fixture, torch.float32)
    fixture.compare("v", _velocity(flow, x, t, voxels, condition))
    kept = flow.prepare(condition, voxels.lengths, term_bytes=1 << 30)
    fixture.compare("v", flow(x, t, flow.layout(voxels), kept))
    _compare_half(fixture, _velocity(_load(fixture, torch.bfloat16), x, t, voxels, condition))


def _load(fixture: Fixture, body_dtype: torch.dtype) -> Flow:
    flow = build_network(fixture.kind, fixture.arguments, body_dtype)
    assert isinstance(flow, Flow)
    fixture.load_into(flow)
    return flow


def _velocity(flow: Flow, x: Tensor, t: Tensor, voxels: Voxels, condition: Condition) -> Tensor:
    prepared: PreparedCondition = flow.prepare(condition, voxels.lengths)
    return flow(x, t, flow.layout(voxels), prepared)


def _compare_half(fixture: Fixture, v: Tensor) -> None:
    expected = fixture.output("v")
    off = ((v - expected).pow(2).mean() / expected.pow(2).mean()).sqrt().item()
    assert 0 < off < HALF_PRECISION_MARGIN * fixture.sidecar["bf16_torso_rel_rms"]


CHECKS = {"SparseStructureFlowModel": structure_flow, "ElasticSLatFlowModel": latent_flow}
