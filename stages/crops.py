"""The two views of every object: context crop for completion, object crop for generation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from alignment.occlusion import occluders, union
from scene.cameras import (
    CONTEXT_FRAMING,
    MAX_CROP_SIDE_PX,
    OBJECT_FRAMING,
    camera_from_fov,
    crop_from_crop,
    crop_from_photo,
    look_at_pixels,
    pixel_centres,
    unproject,
    warp,
    warp_rgba,
)
from scene.errors import BadInput
from scene.types import (
    Bool,
    Camera,
    Completion,
    Crop,
    CropCamera,
    Cutout,
    Float32,
    Mask,
    ObjectCrop,
    Photo,
    PointMap,
)

SOLID_ALPHA = 0.8 * 255  # a cut-out's pixels above it decide where the object is
MIN_DEPTH_WEIGHT = 0.25  # share of a crop pixel that must be covered by measured pixels


def context_crops(photo: Photo, point_map: PointMap, masks: list[Mask]) -> list[tuple[Crop, Bool]]:
    """Every object's context crop, and the (H, W) mask of the nearer objects that may hide it."""
    nearer = occluders([m.pixels for m in masks], point_map.depth)
    nothing = np.zeros((photo.height, photo.width), bool)
    return [
        (
            context_crop(photo, point_map.camera, mask, [masks[j] for j in others]),
            union([masks[j].pixels for j in others], nothing),
        )
        for mask, others in zip(masks, nearer, strict=True)
    ]


def context_crop(photo: Photo, camera: Camera, mask: Mask, nearer: Sequence[Mask]) -> Crop:
    """The photo around a visible mask, framed 1.5 times, with the nearer objects in the same view.

    Of those, the ones that lie in the crop are named, the largest first, each name once.
    """
    crop_camera = look_at_pixels(camera, mask.pixels, CONTEXT_FRAMING)
    homography, side = crop_from_photo(camera, crop_camera), crop_camera.camera.width

    def warped(pixels: Bool) -> Float32:
        return warp(pixels.astype(np.float32), homography, side)

    rgb = np.rint(warp(photo.rgb, homography, side)).clip(0, 255)
    alpha = np.rint(warped(mask.pixels) * 255)
    hidden = warped(union([m.pixels for m in nearer], np.zeros_like(mask.pixels))) > 0.5
    outside = warped(np.ones_like(mask.pixels)) < 0.5
    areas = [(int((warped(m.pixels) > 0.5).sum()), m.label) for m in nearer]
    named = dict.fromkeys(label for area, label in sorted(areas, reverse=True) if area and label)
    rgba = np.concatenate([rgb, alpha[..., None]], -1).astype(np.uint8)
    return Crop(rgba, hidden, crop_camera, tuple(named), outside if outside.any() else None)


def object_crop(
    completion: Completion, context: CropCamera, point_map: PointMap, mask: Mask
) -> ObjectCrop:
    """The completed object re-centred on its own silhouette and framed 1.1 times.

    Raises ValueError when the completion is empty.
    """
    turned = look_at_pixels(context.camera, completion.rgba[..., 3] > 127, OBJECT_FRAMING)
    crop_camera = CropCamera(turned.camera, context.photo_from_crop @ turned.photo_from_crop)
    side = crop_camera.camera.width
    rgba = warp_rgba(completion.rgba, crop_from_crop(crop_camera, context), side)
    depth = depth_in_crop(point_map, mask.pixels, crop_camera)
    return ObjectCrop(rgba, depth, crop_camera, measured=not point_map.guessed)


def cutout_crop(cutout: Cutout, fov_x_rad: float) -> ObjectCrop:
    """An object's own picture, framed 1.1 times, as seen by a camera of a field of view.

    Raises BadInput when no pixel is solid. The framing is the one of Pixal3D's preprocessing
    (`pixal3d/preprocess.py`), so that a cut-out means the same in every backend.
    """
    picture = Image.fromarray(cutout.rgba, "RGBA")
    shrink = MAX_CROP_SIDE_PX / max(picture.size)
    if shrink < 1:
        size = (max(1, int(picture.width * shrink)), max(1, int(picture.height * shrink)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    rows, columns = np.nonzero(np.asarray(picture)[..., 3] > SOLID_ALPHA)
    if len(rows) < 2:
        raise BadInput("has no solid pixels: its opacity is nowhere above 80 percent")
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    half = max(1, int(max(right - left, bottom - top) * OBJECT_FRAMING) // 2)
    x, y = (left + right) / 2, (top + bottom) / 2
    rgba = np.asarray(picture.crop((x - half, y - half, x + half, y + half)))
    camera = camera_from_fov(rgba.shape[1], rgba.shape[0], fov_x_rad)
    unknown = np.full(rgba.shape[:2], np.nan, np.float32)
    return ObjectCrop(rgba, unknown, CropCamera(camera, np.eye(3)))


def depth_in_crop(point_map: PointMap, mask: Bool, crop: CropCamera) -> Float32:
    """(N, N) z in the crop camera's frame where the mask has measured depth, NaN elsewhere.

    Interpolates 1 / z, which is linear over a plane's picture, so planes stay planes.
    """
    camera = point_map.camera
    rays = unproject(camera, pixel_centres(camera.width, camera.height))
    depth = point_map.depth * (rays @ crop.photo_from_crop[:, 2])
    known = mask & np.isfinite(depth) & (depth > 0)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0)
    homography = crop_from_photo(camera, crop)
    both = warp(np.stack([inverse, known], -1).astype(np.float32), homography, crop.camera.width)
    covered = both[..., 1] > MIN_DEPTH_WEIGHT
    out = np.full(covered.shape, np.nan, np.float32)
    out[covered] = both[covered, 1] / both[covered, 0]
    return out
