"""Sparse convolution, the moves between octree levels and group norm against the reference."""

from __future__ import annotations

from torch import Tensor, nn

from sparse3d.sparse_conv import SparseConv, convolve_by_offset
from sparse3d.voxels import (
    Voxels,
    channel_to_space,
    coarsen,
    group_norm,
    pool_max,
    pool_mean,
    sorted_neighbours,
    space_to_channel,
    subdivide,
    unpool,
)
from support.parity.fixture import Fixture

GROUPS = 4  # of the group norm, as the sidecar's notes say
DILATIONS = {"conv": 1, "conv_dilation2": 2}


def check_sparse(fixture: Fixture) -> None:
    voxels, wide = Voxels(fixture.input("coords")), fixture.input("feats24")
    weights = fixture.part("weights")
    layers = {name: convolution(weights, name) for name in DILATIONS}
    norm = nn.GroupNorm(GROUPS, len(weights["group_norm.weight"]))
    fixture.load_into(nn.ModuleDict({**layers, "group_norm": norm}))
    check_convolutions(fixture, voxels, layers)
    check_merging(fixture, voxels)
    check_splitting(fixture, voxels)
    normalised = group_norm(wide, voxels, GROUPS, norm.weight, norm.bias, norm.eps)
    fixture.compare("group_norm", normalised)


def convolution(weights: dict[str, Tensor], name: str) -> SparseConv:
    """A layer of the fixture, its sizes read off the weights."""
    out_channels, *_, in_channels = weights[f"{name}.weight"].shape
    return SparseConv(in_channels, out_channels, DILATIONS[name])


def check_convolutions(fixture: Fixture, voxels: Voxels, layers: dict[str, SparseConv]) -> None:
    features = fixture.input("feats")
    for name, layer in layers.items():
        fixture.compare(name, layer(features, voxels))
        table = sorted_neighbours(voxels.coords, layer.dilation)
        readable = convolve_by_offset(features, table, layer.weight, layer.bias)
        fixture.compare(name, readable)


def check_merging(fixture: Fixture, voxels: Voxels) -> None:
    features, origin = fixture.input("feats"), coarsen(voxels)
    mean = pool_mean(features, origin)
    fixture.compare("down_mean_coords", origin.parents.coords)
    fixture.compare("down_mean_feats", mean)
    fixture.compare("down_max_feats", pool_max(features, origin))
    fixture.compare("up_cached_feats", unpool(mean, origin))
    fixture.compare("s2c_coords", origin.parents.coords)
    fixture.compare("s2c_feats", space_to_channel(features, origin))


def check_splitting(fixture: Fixture, voxels: Voxels) -> None:
    wide = fixture.input("feats24")
    children = subdivide(voxels, fixture.input("subdivision").bool())
    assert children.origin is not None
    fixture.compare("c2s_coords", children.coords)
    fixture.compare("c2s_feats", channel_to_space(wide, children.origin))
    fixture.compare("up_sub_coords", children.coords)
    fixture.compare("up_sub_feats", unpool(wide, children.origin))


CHECKS = {"SparseConv3d": check_sparse}
