"""What the transformers know of the image: its tokens, or its features projected onto each voxel.

The released networks attend to all tokens (v1.1), or in the sparse stages to those of patches with
some of the object (v1.0; Direct3D-S2, commit a1cf235, utils/sparse.py). Pixal3D's paper conditions
by back-projection instead: a voxel gets the mean of the patch map and of the map that NAF makes of
it, sampled where it projects, through one layer that starts at zero, and the class token alone goes
in by attention. No weights of the latter are public: names and layout are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from direct3d_s2.dit import Conditioning
from direct3d_s2.images import ObjectImage, View
from sparse3d.dinov2 import DinoV2
from sparse3d.image_taps import Taps, taps_of, weighted
from sparse3d.naf import Naf, attend_at_pixels

STAGES = ("dense", "sparse_512", "sparse_1024")
FEATURE_CHANNELS = 1024  # of DINOv2 ViT-L


class BackProjection(nn.Module):
    """One layer for each stage: from the features of a voxel (N, C) to a term of its token.

    Zero at first, so that training starts from the network without it.
    """

    def __init__(self, widths: Sequence[int], feature_channels: int = FEATURE_CHANNELS) -> None:
        super().__init__()
        self.feature_channels = feature_channels
        layers = {
            stage: nn.Linear(feature_channels, width)
            for stage, width in zip(STAGES, widths, strict=True)
        }
        for layer in layers.values():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.stages = nn.ModuleDict(layers)

    def forward(self, features: Tensor, stage: str) -> Tensor:
        return self.stages[stage](features)


@dataclass(frozen=True, eq=False)
class EncodedView:
    """tokens (1 + R + h w, C) of a view's image, and the map (C, h, w) of its patches."""

    view: View
    tokens: Tensor
    patch_map: Tensor


def released_tokens(encoder: DinoV2, image: ObjectImage, device: torch.device) -> Tensor:
    """All tokens (1 + R + h w, C) of an image."""
    return encoder(image.rgb[None].to(device))[0]


def object_tokens(tokens: Tensor, image: ObjectImage, encoder: DinoV2) -> tuple[Tensor, Tensor]:
    """The tokens whose patches have some of the object, after the global ones; and their places.

    Places (M, 3): column, row, 0 of a patch; 0, 0, 1 of a global token.
    """
    count, patch = encoder.config.global_tokens, encoder.config.patch_size
    covered = F.max_pool2d(image.mask[None], patch)[0].to(tokens.device) > 0
    rows, columns = covered.nonzero().unbind(1)
    mine = torch.cat((tokens[:count], tokens[count + rows * covered.shape[1] + columns]))
    places = torch.stack((columns, rows, torch.zeros_like(rows)), 1)
    return mine, torch.cat((places.new_tensor([[0, 0, 1]]).expand(count, -1), places))


def encode_views(encoder: DinoV2, views: Sequence[View], device: torch.device) -> list[EncodedView]:
    """One pass of the image encoder for each view."""
    encoded = []
    for view in views:
        tokens = released_tokens(encoder, view.image, device)
        encoded.append(EncodedView(view, tokens, encoder.patch_map(tokens[None])[0]))
    return encoded


def projected_conditioning(
    views: Sequence[EncodedView], points: Tensor, naf: Naf, layers: BackProjection, stage: str
) -> Conditioning:
    """The conditioning of tokens at points (N, 3) of the cube, by the mean over the views.

    A voxel has the mean over the views that have it in their image and before the camera, zero if
    there are none; the class tokens of all views are the context.
    """
    total = torch.zeros(len(points), views[0].tokens.shape[1], device=points.device)
    count = torch.zeros(len(points), 1, device=points.device)
    for encoded in views:
        positions, visible = project(points, encoded.view)
        total[visible] += sampled_features(encoded, positions[visible], naf)
        count += visible[:, None]
    term = layers(total / count.clamp(min=1), stage)
    context = torch.stack([encoded.tokens[0] for encoded in views])
    return Conditioning([context], term=term)


def without_image(
    conditioning: Conditioning, layers: BackProjection | None = None, stage: str = ""
) -> Conditioning:
    """The same with zeros in place of the image's tokens and, with layers, of its features.

    Zeros without places are all alike: one of them gives what all would.
    """
    if conditioning.places is not None:
        return Conditioning([torch.zeros_like(t) for t in conditioning.tokens], conditioning.places)
    tokens = [torch.zeros_like(t[:1]) for t in conditioning.tokens]
    if layers is None or conditioning.term is None:
        return Conditioning(tokens)
    nothing = conditioning.term.new_zeros(1, layers.feature_channels)
    return Conditioning(tokens, term=layers(nothing, stage))


def project(points: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Where points (N, 3) of the cube are in an image: positions (N, 2) in [-1, 1], x then y, which
    span it from border to border; and whether they are in it and before the camera (N,) bool."""
    pose = view.camera_from_cube.to(points)
    in_camera = points @ pose[:3, :3].T + pose[:3, 3]
    depth = -in_camera[:, 2]
    half_tangent = torch.tan(torch.tensor(view.fov_x_rad / 2, dtype=points.dtype))
    before = depth > 0
    scale = half_tangent * torch.where(before, depth, 1)
    positions = torch.stack((in_camera[:, 0], -in_camera[:, 1]), 1) / scale[:, None]
    return positions, before & (positions.abs() <= 1).all(1)


def sampled_features(encoded: EncodedView, positions: Tensor, naf: Naf) -> Tensor:
    """(N, C) at positions (N, 2): the mean of the patch map and of NAF's map of the image's size.

    NAF runs only at the pixels under the positions. Equals `sampled_features_whole`.
    """
    patches = encoded.patch_map
    coarse = weighted(patches.flatten(1).T.contiguous(), taps_of(positions, patches.shape[1:]))
    image = encoded.view.image.rgb.to(patches.device)
    size = image.shape[1]
    guide = naf.guide(image, (size, size), (patches.shape[1], patches.shape[2]))
    taps = taps_of(positions, (size, size))
    pixels, place = taps.index.unique(return_inverse=True)
    fine = attend_at_pixels(guide, patches, pixels // size, pixels % size)
    return (coarse + weighted(fine, Taps(place, taps.weight))) / 2


def sampled_features_whole(encoded: EncodedView, positions: Tensor, naf: Naf) -> Tensor:
    """The readable twin of `sampled_features`, with NAF's whole map."""
    patches = encoded.patch_map[None]
    image = encoded.view.image.rgb[None].to(patches)
    fine = naf(image, patches, (image.shape[2], image.shape[3]))
    maps = [
        F.grid_sample(m, positions[None, :, None], "bilinear", "border", align_corners=False)
        for m in (patches, fine)
    ]
    return (maps[0] + maps[1])[0, :, :, 0].T / 2


def token_points(coords: Tensor, cells: int, side: int) -> Tensor:
    """Points (N, 3) of the cube at the middle of tokens (N, 3) int of `cells` nodes along an edge.

    Node i of a field of `side` stands at i / (side - 1) - 1/2, here and in the mesh.
    """
    return (cells * coords.float() + (cells - 1) / 2) / (side - 1) - 0.5
