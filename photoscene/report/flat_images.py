"""The flat images of the page: photo, masks, crops and depth, as compressed bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from scene.drawing import draw_masks, mask_colour
from scene.types import Bool, Cutout, Float32, Mask, Photo, Uint8

SCENE_SIDE_PX = 1200  # long side of images of the whole photo
JPEG_QUALITY, WEBP_QUALITY = 84, 82
WEBP_METHOD = 2  # of 0 to 6: a third of the default's time for 5 % more bytes
DIMMED = 0.35  # fraction of the surroundings' brightness around an object
OCCLUDER_RGB, OCCLUDER_TINT = np.array([235.0, 235.0, 235.0]), 0.55
UNKNOWN_RGB = (128, 128, 128)
DEPTH_COLOURS = cv2.COLORMAP_VIRIDIS
DEPTH_PERCENTILES = (1.0, 99.0)  # a few wild pixels must not flatten all others
SCALE_WIDTH_PX, SCALE_HEIGHT_PX = 256, 8


@dataclass(frozen=True)
class DepthRange:
    """The distances (z) at the two ends of the depth image's colours; known: fraction of pixels."""

    near: float
    far: float
    known: float


def jpeg(rgb: Uint8, quality: int = JPEG_QUALITY) -> bytes:
    """(H, W, 3) uint8 sRGB -> JPEG."""
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"a picture of shape {rgb.shape} cannot be a JPEG")
    return data.tobytes()


def webp(pixels: Uint8) -> bytes:
    """(H, W, 3) or (H, W, 4) uint8 -> WebP, transparency kept."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
    return out.getvalue()


def scene_image(rgb: Uint8) -> bytes:
    """An image of the whole photo as JPEG of sensible size."""
    return jpeg(shrunk(rgb, SCENE_SIDE_PX))


def masks_image(photo: Photo, masks: Sequence[Mask]) -> bytes:
    """The photo with every mask tinted and numbered; drawn small, so that numbers stay readable."""
    rgb = shrunk(photo.rgb, SCENE_SIDE_PX)
    size = (rgb.shape[1], rgb.shape[0])
    small = [_resized_mask(mask.pixels, size) for mask in masks]
    return jpeg(draw_masks(rgb, small))


def context_image(crop: Cutout, occluder: Mask, index: int, side_px: int) -> bytes:
    """The context crop: surroundings dimmed, the visible mask outlined in the object's colour.

    What may hide the object is whitened. crop (N, N, 4): the photo, the visible mask as alpha.
    """
    alpha = crop.rgba[..., 3:].astype(np.float32) / 255
    rgb = crop.rgba[..., :3].astype(np.float32)
    around = rgb * DIMMED
    hides = occluder.pixels
    around[hides] = around[hides] * (1 - OCCLUDER_TINT) + OCCLUDER_RGB * OCCLUDER_TINT
    image = np.rint(rgb * alpha + around * (1 - alpha)).astype(np.uint8)
    small = np.ascontiguousarray(shrunk(image, side_px))
    visible = _resized_mask(alpha[..., 0] > 0.5, (small.shape[1], small.shape[0]))
    contours, _ = cv2.findContours(visible.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(small, contours, -1, mask_colour(index), max(1, side_px // 128))
    return webp(small)


def cutout_image(cutout: Cutout, side_px: int) -> bytes:
    """A cutout at a smaller size, transparent around the object."""
    return webp(shrunk_rgba(cutout.rgba, side_px))


def known_depth(depth: Float32) -> Bool:
    """(H, W) where a point lies in front of the camera; unknown is NaN."""
    return np.isfinite(depth) & (depth > 0)


def depth_range(depth: Float32) -> DepthRange | None:
    """The range that the colours span, None where no pixel is known. depth (H, W), NaN unknown."""
    known = known_depth(depth)
    if not known.any():
        return None
    near, far = np.percentile(depth[known], DEPTH_PERCENTILES)
    return DepthRange(float(near), float(far), float(known.mean()))


def depth_image(depth: Float32, span: DepthRange) -> bytes:
    """z as colour, near bright, far dark; unknown pixels grey."""
    known = known_depth(depth)
    width = max(span.far - span.near, 1e-9 * max(abs(span.far), 1.0))
    level = np.clip((span.far - np.where(known, depth, span.far)) / width, 0, 1)
    image = _coloured(level)
    image[~known] = UNKNOWN_RGB
    return webp(shrunk(image, SCENE_SIDE_PX))


def normals_image(normals: Float32) -> bytes:
    """Unit normals (H, W, 3) as colour: x to the right red, y up green, toward the camera blue."""
    level = np.nan_to_num(normals * np.array([1, -1, -1])) * 127.5 + 127.5
    image = np.rint(level).clip(0, 255).astype(np.uint8)
    image[np.isnan(normals[..., 0])] = UNKNOWN_RGB
    return webp(shrunk(image, SCENE_SIDE_PX))


def depth_scale_image() -> bytes:
    """The colours of `depth_picture` from near (left) to far (right)."""
    level = np.repeat(np.linspace(1, 0, SCALE_WIDTH_PX)[None], SCALE_HEIGHT_PX, 0)
    return webp(_coloured(level))


def shrunk(image: Uint8, side_px: int) -> Uint8:
    """(H, W[, C]) with its long side at most side_px; smaller images are left as they are."""
    height, width = image.shape[:2]
    factor = side_px / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def shrunk_rgba(rgba: Uint8, side_px: int) -> Uint8:
    """The same for straight alpha: colours weighted by alpha, so no fringe bleeds in."""
    if max(rgba.shape[:2]) <= side_px:
        return rgba
    alpha = rgba[..., 3:].astype(np.float32) / 255
    joined = np.concatenate([rgba[..., :3] * alpha, alpha], -1)
    factor = side_px / max(rgba.shape[:2])
    size = (max(1, round(rgba.shape[1] * factor)), max(1, round(rgba.shape[0] * factor)))
    small = cv2.resize(joined, size, interpolation=cv2.INTER_AREA)
    alpha = small[..., 3:]
    rgb = small[..., :3] / np.maximum(alpha, 1e-3)
    return np.rint(np.concatenate([rgb, alpha * 255], -1)).clip(0, 255).astype(np.uint8)


def _coloured(level: np.ndarray) -> Uint8:
    """(H, W) in [0, 1] -> (H, W, 3) sRGB."""
    grey = np.rint(level * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, DEPTH_COLOURS)[..., ::-1], np.uint8)


def _resized_mask(mask: Bool, size: tuple[int, int]) -> Bool:
    """A mask (H, W) at another size (width, height)."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    small = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small) > 127
