"""Edits as an image editor makes them, from the truth: moved, tinted, softened, repainted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.cameras import warp_rgba
from scene.types import Bool, Float32, Float64, Uint8
from stages.complete.qwen_edit.registration import Registration

EDIT_SIDE_PX = 1024  # the editor's own grid


@dataclass(frozen=True)
class Drift:
    """What an editor does besides completing.

    zoom, shift_px (of the edit's grid of 1024): how the whole picture moves; gain, bias (grey
    levels): per channel; shade: a slow change of light across the picture, in grey levels;
    blur_px: deviation; jpeg: quality, 0 for none; texture: share of the object whose fine pattern
    is invented anew; repaint: share of the object painted over in another colour.
    """

    zoom: float = 1.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shade: float = 0.0
    blur_px: float = 0.0
    jpeg: int = 0
    texture: float = 0.0
    repaint: float = 0.0


def crop_from_edit(drift: Drift, crop_side_px: int) -> Registration:
    """The registration that undoes a drift: the truth to compare with."""
    scale = crop_side_px / EDIT_SIDE_PX
    zoom = 1 / drift.zoom
    x, y = (-zoom * value * scale for value in drift.shift_px)
    return Registration(crop_side_px, zoom, x, y)


def drifted(
    truth: Uint8, edit_from_truth: Float64, plain: tuple[int, int, int], drift: Drift, seed: int
) -> Uint8:
    """(1024, 1024, 3) the whole object on a plain background as an editor returns it.

    truth (H, W, 4): the object without its occluders; edit_from_truth: (3, 3) homography of an edit
    that does not move. One resampling does it all.
    """
    random = np.random.default_rng(seed)
    middle = EDIT_SIDE_PX / 2
    offset = [(1 - drift.zoom) * middle + s for s in drift.shift_px]
    moved = np.array([[drift.zoom, 0, offset[0]], [0, drift.zoom, offset[1]], [0, 0, 1.0]])
    rgba = warp_rgba(truth, moved @ edit_from_truth, EDIT_SIDE_PX).astype(np.float32)
    alpha = rgba[..., 3:] / 255
    colours = _repainted(rgba[..., :3], alpha[..., 0] > 0.5, drift, random)
    image = colours * alpha + np.array(plain, np.float32) * (1 - alpha)
    return finished(np.asarray(image, np.float32), drift, random)


def finished(image: Float32, drift: Drift, random: np.random.Generator) -> Uint8:
    """What a decoder does to a picture (n, n, 3): tint, shade, softness, compression."""
    side = image.shape[0]
    angle = random.uniform(0, 2 * np.pi)
    steps = np.linspace(-1, 1, side)
    ramp = np.cos(angle) * steps[None] + np.sin(angle) * steps[:, None]
    image = np.asarray(
        image * np.array(drift.gain) + np.array(drift.bias) + drift.shade * ramp[..., None],
        np.float32,
    )
    if drift.blur_px:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), drift.blur_px), np.float32)
    out = np.rint(image).clip(0, 255).astype(np.uint8)
    if not drift.jpeg:
        return out
    _, coded = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, drift.jpeg])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def _repainted(
    colours: Float32, inside: Bool, drift: Drift, random: np.random.Generator
) -> Float32:
    side = colours.shape[0]
    if drift.texture:
        # As strong as the object's own fine pattern, and as fine, but another one.
        smooth = cv2.GaussianBlur(colours, (0, 0), 4)
        strength = (colours - smooth)[inside].std() if inside.any() else 0
        noise = cv2.GaussianBlur(random.standard_normal((side, side, 1)), (0, 0), 1.5)
        noise = noise[..., None] / noise.std() * max(strength, 2.0)
        where = patch(inside, drift.texture, random)[..., None]
        colours = np.where(where, smooth + noise, colours)
    if drift.repaint:
        where = patch(inside, drift.repaint, random)[..., None]
        colours = np.where(where, random.uniform(30, 225, 3), colours)
    return colours.astype(np.float32)


def patch(inside: Bool, fraction: float, random: np.random.Generator) -> Bool:
    """(n, n) a round piece of the True pixels: those nearest to one of them."""
    rows, columns = np.nonzero(inside)
    k = random.integers(len(rows))
    distance = np.hypot(rows - rows[k], columns - columns[k])
    chosen = distance <= np.quantile(distance, fraction)
    out = np.zeros_like(inside)
    out[rows[chosen], columns[chosen]] = True
    return out
