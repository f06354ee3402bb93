"""The lite network's inputs and outputs as arrays: images of an object, and layers of depth.

Depths are z in the object cube (`scene.types.ObjectMesh`): the camera at (0, 0, -distance) with
distance = 0.5 / tan(fov / 2), the cube's centre plane filling the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from scene.types import Bool, Float32
from stages.bundled import Network

INPUT_CHANNELS = 11
ACROSS = 4  # the channel of a pixel's position between left and right
RIM_GAIN = 4.0  # distances from the rim, as shares of the picture's side, times this
NEAREST, FARTHEST = -0.9, 0.9  # relative depths beyond it are errors of measurement


@dataclass(frozen=True, eq=False)
class NetworkImages:
    """Images of B objects at S x S pixels, as the network takes them.

    rgb (B, S, S, 3) in [0, 1], straight; alpha (B, S, S) in [0, 1]; hidden (B, S, S) bool: where
    something nearer covers the object or may do so; depth (B, S, S): measured z from the camera,
    any unit, NaN where unknown; fov_rad (B,).
    """

    rgb: Float32
    alpha: Float32
    hidden: Bool
    depth: Float32
    fov_rad: Float32


@dataclass(frozen=True, eq=False)
class Layers:
    """What the network predicts of B objects, at H x H: depths (B, 4, H, H) of the first surface,
    near and far end of the largest gap, last surface; gap, solid (B, H, H): probabilities of a gap
    and of the object; back, inner (B, H, H, 3) in [0, 1]: colours of the last surface, and in the
    gap."""

    depths: Float32
    gap: Float32
    solid: Float32
    back: Float32
    inner: Float32


def camera_distance(fov_rad: float) -> float:
    """How far the camera stands from the cube's centre."""
    return 0.5 / math.tan(fov_rad / 2)


def relative_depth(depth: Float32, distance: float) -> Float32:
    """(S, S) measured z in any unit, NaN for unknown -> z in the cube, its median at 0.

    Scaling about the camera keeps every point on its ray; what is missing afterwards is one scale.
    """
    known = np.isfinite(depth)
    if not known.any():
        return np.full(depth.shape, np.nan, np.float32)
    middle = float(np.median(depth[known]))
    return (depth * np.float32(distance / middle) - np.float32(distance)).astype(np.float32)


def network_input(images: NetworkImages) -> Float32:
    """(B, 11, S, S) float32: rgb times alpha, alpha, u, v, tan(fov / 2), hidden, relative depth,
    where it is known, distance from the outline."""
    batch, size = images.alpha.shape[0], images.alpha.shape[1]
    out = np.zeros((batch, INPUT_CHANNELS, size, size), np.float32)
    premultiplied = (images.rgb * 2 - 1) * images.alpha[..., None]
    out[:, :3] = premultiplied.transpose(0, 3, 1, 2)
    out[:, 3] = images.alpha * 2 - 1
    across = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    out[:, ACROSS], out[:, ACROSS + 1] = across[None, None, :], across[None, :, None]
    out[:, 6] = np.tan(images.fov_rad / 2)[:, None, None]
    out[:, 7] = images.hidden
    for i in range(batch):
        relative = relative_depth(images.depth[i], camera_distance(float(images.fov_rad[i])))
        known = np.isfinite(relative) & (relative > NEAREST) & (relative < FARTHEST)
        out[i, 8] = np.where(known, relative, 0) * 2
        out[i, 9] = known
        solid = (images.alpha[i] > 0.5).astype(np.uint8)
        out[i, 10] = cv2.distanceTransform(solid, cv2.DIST_L2, 5) * (RIM_GAIN / size)
    return out


def with_flip_augmentation(network: Network, images: Float32) -> Float32:
    """The mean of a network's outputs for images (B, 11, S, S) and for their mirror images:
    (B, 12, S/2, S/2)."""
    mirrored = images[..., ::-1].copy()
    mirrored[:, ACROSS] = images[:, ACROSS]
    return np.asarray((network(images) + network(mirrored)[..., ::-1]) / 2, np.float32)


def layers_of(output: Float32) -> Layers:
    """The network's output (B, 12, H, H) by name."""
    gap, solid = (np.asarray(1 / (1 + np.exp(-output[:, i])), np.float32) for i in (4, 5))
    colours = output[:, 6:].transpose(0, 2, 3, 1)
    return Layers(output[:, :4], gap, solid, colours[..., :3], colours[..., 3:])
