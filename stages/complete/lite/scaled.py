"""The completion network's input as an array: a context crop, made small."""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool, Crop, Float32, Uint8
from stages.complete.lite.colours import painted

SIDE_PX = 96  # of the network's crops
INPUT_CHANNELS = 7
SOLID = 0.95  # of a small pixel that is visible where its colour is the object's alone


def may_hide(crop: Crop) -> Bool:
    """(N, N): pixels where the object may go on unseen: nearer objects, and beyond the photo."""
    covered = crop.occluder if crop.outside is None else crop.occluder | crop.outside
    return covered & (crop.rgba[..., 3] <= 127)


def scaled(crop: Crop, side: int = SIDE_PX) -> Float32:
    """(1, 7, S, S): the network's input of a crop."""
    size = (side, side)
    rgb = cv2.resize(crop.rgba[..., :3], size, interpolation=cv2.INTER_AREA)
    masks = np.stack([crop.rgba[..., 3] / np.float32(255), may_hide(crop)], -1)
    visible, hidden = np.moveaxis(_shrunk(masks.astype(np.float32), side), -1, 0)
    return network_input(np.asarray(rgb, np.uint8)[None], visible[None], hidden[None])


def network_input(rgb: Uint8, visible: Float32, hidden: Float32) -> Float32:
    """(B, 7, S, S): colours in [-1, 1], and the object's own, carried on, where it may be hidden;
    what is seen of it and where it may be hidden, (B, S, S) in [0, 1], as -1 to 1; u and v in
    [-1, 1]."""
    batch, side = visible.shape[:2]
    out = np.zeros((batch, INPUT_CHANNELS, side, side), np.float32)
    colours = rgb.astype(np.float32)
    own = np.stack([painted(c, v > SOLID) for c, v in zip(colours, visible, strict=True)])
    colours += hidden[..., None] * (own - colours)
    out[:, :3] = (colours / np.float32(127.5) - 1).transpose(0, 3, 1, 2)
    out[:, 3], out[:, 4] = visible * 2 - 1, hidden * 2 - 1
    across = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    out[:, 5], out[:, 6] = across[None, None, :], across[None, :, None]
    return out


def _shrunk(values: Float32, side: int) -> Float32:
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), np.float32)
