"""What does a decoded object look like: which attributes lie where on its textured mesh?

Voxel attributes are sampled at points of the surface and baked into textures. Pixal3D, commit
cdbb2bb, o_voxel.postprocess; charts are cut and packed by xatlas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sparse3d.errors import NothingMade
from sparse3d.mesh_repair import clean_mesh
from sparse3d.nearest import nearest_points
from sparse3d.simplify import simplify

# Channels of the attributes: base colour 0:3, metallic 3, roughness 4, alpha 5.
ATTRIBUTES = 6
SAMPLE_ROWS = 1 << 18  # points sampled at once
NEAREST_REACH = 2  # voxels around a point's own in which the nearest one is looked for
TEXEL_ROWS = 1 << 20  # pairs of face and texel rasterised at once
# Texels between charts, so that bilinear filtering never mixes two of them.
CHART_PADDING_PX = 4
# Faces reach this far beyond their edges: over every texel that bilinear filtering may read.
REACH_PX = 1.5
# More iterations make rounder charts, not fewer seams, and take most of the time.
CHART_ITERATIONS = 0


@dataclass(frozen=True, eq=False)
class VoxelAttributes:
    """The texture decoder's output for the surface in each voxel.

    coords (L, 3) integer, unique, in [0, grid_size); values (L, 6) float: base colour, metallic,
    roughness, alpha, nominally in [0, 1]; the grid fills [-0.5, 0.5]^3.
    """

    coords: Tensor
    values: Tensor
    grid_size: int


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A mesh with textures; vertices on seams occur once per chart.

    vertices (V, 3) float32, object frame; faces (F, 3) int32; uv (V, 2) float32 in [0, 1], v
    counted from the TOP row of the textures; base_colour (T, T, 3), metallic_roughness (T, T, 2:
    metallic, roughness), alpha (T, T), all uint8 and as decoded, without a gamma step.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    base_colour: NDArray[np.uint8]
    metallic_roughness: NDArray[np.uint8]
    alpha: NDArray[np.uint8]


def bake(
    vertices: Tensor,
    faces: Tensor,
    attributes: VoxelAttributes,
    texture_size: int = 1024,
    target_faces: int = 20_000,
) -> TexturedMesh:
    """The mesh, cleaned and simplified to target_faces, with its attributes in square textures.

    vertices (V, 3) float32, object frame; faces (F, 3) int64, as decoded; texture_size in pixels.
    Values are those of the nearest points of the mesh before it was simplified, clipped to [0, 1]
    and cut off to whole numbers of 0 to 255, as in the reference.
    Needs numba, xatlas and fast-simplification. Raises NothingMade for an empty mesh, ValueError
    for a texture below 16 pixels or wrong attributes.
    """
    return bake_cleaned(*clean_mesh(vertices, faces), attributes, texture_size, target_faces)


def bake_cleaned(
    vertices: Tensor,
    faces: Tensor,
    attributes: VoxelAttributes,
    texture_size: int = 1024,
    target_faces: int = 20_000,
    coarse: tuple[Tensor, Tensor] | None = None,
) -> TexturedMesh:
    """`bake` of a mesh that `clean_mesh` has cleaned already; coarse: what `coarsened` made of its
    vertices and faces, where that is done."""
    if not len(faces):
        raise NothingMade("faces: at least one with three different corners, got none")
    if texture_size < 16:
        raise ValueError(f"texture_size: at least 16, got {texture_size}")
    charts = unwrap(*simplify(*(coarse or (vertices, faces)), target_faces), texture_size)
    points, covered = surface_points(*charts, texture_size)
    texels = points.new_zeros(texture_size, texture_size, ATTRIBUTES)
    on_surface = nearest_points(vertices, faces, points[covered])
    texels[covered] = sample_attributes(attributes, on_surface)
    pixels = (fill_uncovered(texels, covered) * 255).clamp(0, 255).byte().cpu().numpy()
    corners, triangles, uv = (tensor.cpu().numpy() for tensor in charts)
    base_colour, metallic_roughness = pixels[..., :3].copy(), pixels[..., 3:5].copy()
    return TexturedMesh(
        corners, triangles.astype(np.int32), uv, base_colour, metallic_roughness, pixels[..., 5]
    )


def sample_attributes(attributes: VoxelAttributes, points: Tensor) -> Tensor:
    """The attributes at points (P, 3) in [-0.5, 0.5]: (P, 6) float32.

    Trilinear between the centres of the voxels that exist, their weights made to sum to 1. Where
    none of the eight exists, the nearest voxel of the 5^3 around; where there is none either, the
    same in the grid of half the resolution, whose voxels average their children.
    Raises ValueError without any voxel, or for wrong shapes.
    """
    _check_attributes(attributes, points)
    codes, order = _codes(attributes.coords, attributes.grid_size).sort()
    values = attributes.values.float()[order]
    cells = ((points.float() + 0.5) * attributes.grid_size).clamp(0, attributes.grid_size)
    sampled, missed = values.new_zeros(len(points), ATTRIBUTES), []
    for rows in torch.arange(len(points), device=points.device).split(SAMPLE_ROWS):
        sampled[rows], near = _trilinear(codes, values, cells[rows], attributes.grid_size)
        lost = rows[~near]
        sampled[lost], near = _nearest(codes, values, cells[lost], attributes.grid_size)
        missed.append(lost[~near])
    lost = torch.cat(missed)
    if len(lost):
        sampled[lost] = sample_attributes(_halved(attributes), points[lost])
    return sampled


def _trilinear(
    codes: Tensor, values: Tensor, cells: Tensor, grid_size: int
) -> tuple[Tensor, Tensor]:
    """Values (P, 6) at positions in voxels (P, 3), and where there were any: (P,) bool."""
    low = (cells - 0.5).floor()
    share = cells - 0.5 - low
    shares = torch.stack((1 - share, share))
    total = values.new_zeros(len(cells), ATTRIBUTES)
    weights = values.new_zeros(len(cells), 1)
    for x, y, z in product((0, 1), repeat=3):
        row, present = _find_rows(codes, _codes(low, grid_size, (x, y, z)))
        weight = (shares[x, :, 0] * shares[y, :, 1] * shares[z, :, 2] * present)[:, None]
        total.addcmul_(weight, values[row])
        weights += weight
    return total / weights.clamp(min=1e-12), weights[:, 0] > 1e-12


def _nearest(codes: Tensor, values: Tensor, cells: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
    """Values of the nearest voxels within reach (P, 6), and where there were any: (P,) bool."""
    best = torch.zeros(len(cells), dtype=torch.long, device=cells.device)
    distance = cells.new_full((len(cells),), torch.inf)
    own = cells.floor().clamp(0, grid_size - 1)
    to_centre = own + 0.5 - cells
    for offset in product(range(-NEAREST_REACH, NEAREST_REACH + 1), repeat=3):
        row, present = _find_rows(codes, _codes(own, grid_size, offset))
        away = (to_centre + to_centre.new_tensor(offset)).square().sum(1)
        nearer = present & (away < distance)
        best, distance = torch.where(nearer, row, best), torch.where(nearer, away, distance)
    return values[best], distance.isfinite()


def _halved(attributes: VoxelAttributes) -> VoxelAttributes:
    """The attributes in voxels twice as large: means over the voxels inside."""
    parents = attributes.coords.div(2, rounding_mode="floor")
    grid_size = (attributes.grid_size + 1) // 2
    codes, group = torch.unique(_codes(parents, grid_size), return_inverse=True)
    values = attributes.values.new_zeros(len(codes), ATTRIBUTES, dtype=torch.float32)
    values.index_add_(0, group, attributes.values.float())
    coords = parents.new_zeros(len(codes), 3)
    coords[group] = parents
    # A grid of odd size grows by half a voxel, which only places far points a little off.
    return VoxelAttributes(coords, values / torch.bincount(group)[:, None], grid_size)


def _find_rows(codes: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the voxels with these codes, any row where missing, and which are present."""
    row = torch.searchsorted(codes, queries).clamp_(max=len(codes) - 1)
    return row, codes[row] == queries


def _codes(coords: Tensor, grid_size: int, offset: tuple[int, ...] = (0, 0, 0)) -> Tensor:
    """One int64 per voxel at coords + offset; unique up to NEAREST_REACH outside the grid."""
    stride = grid_size + 2 * NEAREST_REACH
    x, y, z = coords.long().unbind(-1)
    step = (offset[0] * stride + offset[1]) * stride + offset[2]
    return ((x * stride + y) * stride + z).add_(step)


def unwrap(vertices: Tensor, faces: Tensor, texture_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the mesh into charts and pack them: vertices (V, 3), faces (F, 3), uv (V, 2) in [0, 1].

    uv have v from the top. Seam vertices are repeated, at exactly the same place.
    """
    try:
        import xatlas
    except ImportError as error:
        raise ImportError("bake needs xatlas: pip install 'photoscene[pixal3d]'") from error
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = CHART_ITERATIONS
    packing.resolution, packing.padding = texture_size, CHART_PADDING_PX
    atlas = xatlas.Atlas()
    atlas.add_mesh(
        vertices.detach().cpu().numpy().astype(np.float32), faces.cpu().numpy().astype(np.uint32)
    )
    atlas.generate(charts, packing)
    sources, triangles, uv = atlas[0]
    device = vertices.device
    return (
        vertices.float()[torch.from_numpy(sources.astype(np.int64)).to(device)],
        torch.from_numpy(triangles.astype(np.int64)).to(device),
        torch.from_numpy(uv.astype(np.float32)).to(device),
    )


def surface_points(
    vertices: Tensor, faces: Tensor, uv: Tensor, texture_size: int
) -> tuple[Tensor, Tensor]:
    """The point of the surface under each texel (T, T, 3), and which texels have one (T, T) bool.

    A texel belongs to the face nearest to its centre in the texture, up to REACH_PX away; outside
    every face its point is the nearest one on that face's border.
    """
    count = texture_size * texture_size
    points = vertices.new_zeros(count, 3)
    nearest = vertices.new_full((count,), torch.inf)
    corners_px = uv[faces] * texture_size
    for face, texel in _texels_around(corners_px, texture_size):
        centre = torch.stack((texel % texture_size, texel // texture_size), dim=1) + 0.5
        weights, distance = _closest_in_triangle(corners_px[face], centre)
        rows = torch.arange(len(face), device=face.device)
        reached = distance <= torch.minimum(nearest[texel], distance.new_tensor(REACH_PX))
        least = torch.full_like(nearest, torch.inf)
        least.scatter_reduce_(0, texel[reached], distance[reached], "amin")
        rows = rows[reached & (distance == least[texel]) & (distance < nearest[texel])]
        winner = texel.new_full((count,), len(face))
        winner.scatter_reduce_(0, texel[rows], rows, "amin")
        won = (winner < len(face)).nonzero()[:, 0]
        rows = winner[won]
        nearest[won] = distance[rows]
        points[won] = (weights[rows, :, None] * vertices[faces[face[rows]]]).sum(1)
    shape = (texture_size, texture_size)
    return points.reshape(*shape, 3), nearest.isfinite().reshape(shape)


def _texels_around(corners_px: Tensor, texture_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """In parts: faces (M,) and the texels (M,) in their bounding boxes grown by REACH_PX."""
    low = (corners_px.amin(1) - REACH_PX - 0.5).ceil().clamp(0, texture_size - 1).long()
    high = (corners_px.amax(1) + REACH_PX - 0.5).floor().clamp(0, texture_size - 1).long()
    width, height = (high - low + 1).clamp(min=0).unbind(1)
    counts = width * height
    ends = counts.cumsum(0)
    total = int(ends[-1])
    for first in range(0, total, TEXEL_ROWS):
        pair = torch.arange(first, min(first + TEXEL_ROWS, total), device=counts.device)
        face = torch.searchsorted(ends, pair, right=True)
        place = pair - (ends - counts)[face]
        column, row = low[face, 0] + place % width[face], low[face, 1] + place // width[face]
        yield face, row * texture_size + column


def _closest_in_triangle(corners: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric weights (M, 3) of the points of triangles (M, 3, 2) closest to points (M, 2).

    Also the distances (M,), zero inside. A triangle without area counts as its edges.
    """
    following = corners.roll(-1, dims=1)
    along, across = following - corners, point[:, None] - corners
    share = (along * across).sum(2) / along.square().sum(2).clamp(min=1e-12)
    share = share.clamp(0, 1)
    distances = (along * share[:, :, None] - across).norm(dim=2)
    distance, edge = distances.min(dim=1)
    share = share.gather(1, edge[:, None])
    weights = torch.zeros_like(distances).scatter_(1, edge[:, None], 1 - share)
    weights.scatter_(1, (edge[:, None] + 1) % 3, share)
    areas = (along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]).roll(-1, dims=1)
    whole = areas.sum(1, keepdim=True)
    inside = ((areas * whole >= 0).all(dim=1) & (whole[:, 0].abs() > 1e-12))[:, None]
    weights = torch.where(inside, areas / torch.where(inside, whole, 1.0), weights)
    return weights, torch.where(inside[:, 0], 0.0, distance)


def fill_uncovered(texels: Tensor, covered: Tensor) -> Tensor:
    """Spread the covered texels (T, T, C) over the rest: from coarser and coarser averages.

    Mip maps and bilinear filtering read beyond the charts, and must not find black there.
    """
    if bool(covered.all()) or not bool(covered.any()):
        return texels
    weighted = torch.cat((texels * covered[..., None], covered[..., None].to(texels)), dim=2)
    pooled = F.avg_pool2d(weighted.permute(2, 0, 1), 2, ceil_mode=True).permute(1, 2, 0)
    amount = pooled[..., -1:]
    coarse = fill_uncovered(pooled[..., :-1] / amount.clamp(min=1e-12), amount[..., 0] > 0)
    height, width = covered.shape
    spread = coarse.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width]
    return torch.where(covered[..., None], texels, spread)


def _check_attributes(attributes: VoxelAttributes, points: Tensor) -> None:
    coords, values = attributes.coords, attributes.values
    if coords.ndim != 2 or coords.shape[1] != 3 or coords.dtype.is_floating_point:
        raise ValueError(f"coords: (L, 3) integer, got {tuple(coords.shape)} {coords.dtype}")
    if values.shape != (len(coords), ATTRIBUTES):
        raise ValueError(f"values: ({len(coords)}, {ATTRIBUTES}), got {tuple(values.shape)}")
    if not len(coords):
        raise ValueError("coords: at least one voxel, got none")
    if not 0 <= int(coords.min()) <= int(coords.max()) < attributes.grid_size:
        low, high = int(coords.min()), int(coords.max())
        raise ValueError(f"coords: between 0 and {attributes.grid_size - 1}, got {low} to {high}")
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: (P, 3), got {tuple(points.shape)}")
    if not bool(points.isfinite().all()):
        raise ValueError("points: finite, got NaN or infinity")
