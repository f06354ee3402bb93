"""Which image features belong to each voxel?

Pixal3D's projection conditioning (commit cdbb2bb, trainers/flow_matching/mixins/
image_conditioned_proj.py): a voxel takes the features of the image at its projection, from the
coarse patch map and, in the later stages, from that map upsampled by NAF. Only the voxels and
pixels that are needed are computed; `project_dense` is the readable twin over the whole grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import repeat

import torch
from torch import Tensor
from torch.nn import functional as F

from pixal3d.camera import PosedCamera, grid_coords, project_voxels
from pixal3d.dinov3 import ImageFeatures
from pixal3d.flow import Condition
from sparse3d.image_taps import Taps, taps_of, weighted
from sparse3d.naf import DEFAULT_CHUNK_BYTES, Guide, Naf, attend_at_pixels


def condition(
    views: Sequence[tuple[PosedCamera, ImageFeatures]],
    coords: Tensor,
    grid_size: int,
    mesh_scale: float = 1.0,
    naf: Naf | None = None,
    naf_size: int | None = None,
) -> Condition:
    """The condition of voxels (N, 3) int x, y, z of a grid, averaged over the views.

    One view: Pixal3D; several views, moved by `align_views` before: its multi-view release, where
    every view counts alike for every voxel. naf_size: side of the upsampled map, given with naf.
    Raises ValueError for no views, naf without its size, and for what `project_features` refuses.
    """
    if not views:
        raise ValueError("condition needs at least one view")
    if (naf is None) != (naf_size is None):
        raise ValueError("naf and naf_size belong together: give both or none")
    if naf is None or naf_size is None:
        guides: Iterable[Guide | None] = repeat(None, len(views))
    else:
        guides = (guide_of(naf, features, naf_size) for _, features in views)
    rows = (
        project_features(view, features, coords, grid_size, mesh_scale, guide)
        for (view, features), guide in zip(views, guides, strict=True)
    )
    voxel_sum = reduce(torch.Tensor.add_, rows)
    global_sum = reduce(torch.add, (features.global_tokens for _, features in views))
    return Condition((global_sum / len(views))[None], voxel_sum / len(views))


def guide_of(naf: Naf, features: ImageFeatures, naf_size: int) -> Guide:
    """The guide that upsamples an image's patch map to naf_size x naf_size; worth keeping."""
    _, height, width = features.patch_map.shape
    return naf.guide(features.image, (naf_size, naf_size), (height, width))


def project_features(
    view: PosedCamera,
    features: ImageFeatures,
    coords: Tensor,
    grid_size: int,
    mesh_scale: float = 1.0,
    guide: Guide | None = None,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Tensor:
    """One view's features (N, C) of voxels (N, 3) int; with a guide (N, 2 C), [patches, NAF].

    NAF runs only at the pixels under the voxels. Equals `project_dense` at these voxels to 5e-5.
    Raises ValueError for coords outside the grid, an image that is not square, and a guide made
    for a patch map of another size.
    """
    image_size = _image_size(features)
    positions = project_voxels(coords, grid_size, view, mesh_scale, image_size)
    rows = features.patch_map.flatten(1).T.contiguous()
    coarse = weighted(rows, taps_of(positions, features.patch_map.shape[1:]))
    if guide is None:
        return coarse
    taps = taps_of(positions, guide.queries.shape[:2])
    pixels, place = taps.index.unique(return_inverse=True)
    width = guide.queries.shape[1]
    upsampled = attend_at_pixels(
        guide, features.patch_map, pixels // width, pixels % width, chunk_bytes
    )
    return torch.cat((coarse, weighted(upsampled, Taps(place, taps.weight))), 1)


def project_dense(
    view: PosedCamera,
    features: ImageFeatures,
    grid_size: int,
    mesh_scale: float = 1.0,
    upsampled: Tensor | None = None,
) -> Tensor:
    """The features (G^3, C or 2 C) of a whole grid, z fastest: the twin of `project_features`.

    upsampled: the whole NAF map (C, H, W), where there is one.
    """
    coords = grid_coords(grid_size, features.patch_map)
    positions = project_voxels(coords, grid_size, view, mesh_scale, _image_size(features))
    maps = [features.patch_map] if upsampled is None else [features.patch_map, upsampled]
    return torch.cat([sample_map(m[None], positions[None])[0] for m in maps], 1)


def sample_map(feature_map: Tensor, positions: Tensor) -> Tensor:
    """Feature maps (B, C, h, w) at positions (B, N, 2) in [-1, 1], x then y: (B, N, C).

    Bilinear; [-1, 1] spans the map from border to border, and beyond it the border continues.
    """
    sampled = F.grid_sample(
        feature_map, positions[:, :, None], "bilinear", "border", align_corners=False
    )
    return sampled[..., 0].transpose(1, 2)


def _image_size(features: ImageFeatures) -> int:
    height, width = features.image.shape[-2:]
    if height != width:
        raise ValueError(f"an image must be square, got {height} x {width}")
    return width
