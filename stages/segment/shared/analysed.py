"""Which objects has a photo by itself? Saliency finds them, the tree of regions divides them.

Saliency (U-2-Net-p) separates objects from their support, and the support's colours where it is too
coarse; the tree of merged superpixels separates objects from each other; GrabCut (Rother et al.
2004, "GrabCut: interactive foreground extraction using iterated graph cuts") moves the outline onto
the photo's colours.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from scene.errors import BadInput
from scene.morphology import dilated, square
from scene.types import Bool, Float32, Mask, Photo, Point, Uint8
from stages.segment.shared.ground import object_pixels
from stages.segment.shared.outline import cut, overlap, window_of
from stages.segment.shared.partition import Int32, RegionTree, region_tree
from stages.segment.shared.saliency import FAINT, Pixel, SaliencyMap, closer_saliency

log = logging.getLogger(__name__)

SALIENT = 0.5  # saliency above this belongs to an object


@dataclass(frozen=True)
class Settings:
    """working_size_px: long side at which regions are found; outlines are refined at full size.

    min_area_share: without prompts, objects smaller than this share of the photo are left out;
    max_objects: without prompts, at most this many, the largest first.
    """

    working_size_px: int = 768
    min_area_share: float = 0.005
    max_objects: int = 16

    def __post_init__(self) -> None:
        if not 64 <= self.working_size_px <= 4096:
            raise BadInput(f"working_size_px: expected 64 to 4096, got {self.working_size_px}")
        if not 0 <= self.min_area_share < 1:
            raise BadInput(f"min_area_share: expected 0 to below 1, got {self.min_area_share:g}")
        if not 1 <= self.max_objects <= 1000:
            raise BadInput(f"max_objects: expected 1 to 1000, got {self.max_objects}")


@dataclass(frozen=True, eq=False)
class AnalysedPhoto:
    """The photo at working size, its saliency (H, W) float32, and the regions of what is salient.

    working_from_photo is the scale of pixel coordinates.
    """

    rgb: Uint8
    saliency: Float32
    tree: RegionTree
    working_from_photo: float


def analyse(
    photo: Photo, saliency_of: SaliencyMap, settings: Settings, clicks: list[Point] | None
) -> AnalysedPhoto:
    """Bring the photo to working size, and find what is salient and how it divides.

    Closer looks go to the parts under the clicks, or with None to every part.
    """
    scale = min(1.0, settings.working_size_px / max(photo.width, photo.height))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    rgb = np.asarray(cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    places = None if clicks is None else pixels_at(clicks, scale, rgb)
    saliency = closer_saliency(rgb, saliency_of, places)
    faint = np.maximum(saliency, saliency_of(rgb)) > FAINT
    tree = region_tree(rgb, object_pixels(rgb, saliency > SALIENT, faint))
    log.debug("%d candidate regions, %d objects", len(tree.members), len(tree.objects))
    return AnalysedPhoto(rgb, saliency, tree, scale)


def propose(analysed: AnalysedPhoto, settings: Settings) -> list[Mask]:
    """The separate objects of the photo, largest first."""
    smallest = settings.min_area_share * analysed.saliency.size
    objects = [analysed.tree.mask(region) for region in analysed.tree.objects]
    objects = absorb_fragments(objects, smallest)
    objects = sorted(objects, key=lambda m: -int(m.sum()))[: settings.max_objects]
    owner = numbered(objects, analysed.saliency.shape)
    nowhere = np.zeros(analysed.saliency.shape, bool)
    masks: list[Mask] = []
    for number, region in enumerate(objects, 1):
        pixels = cut(analysed.rgb, region, nowhere, (owner > 0) & (owner != number))
        if pixels.sum() < smallest:
            continue
        owner[pixels] = number
        masks.append(Mask(pixels, "", score_of(pixels, region, analysed)))
    return masks


def absorb_fragments(objects: list[Bool], smallest: float) -> list[Bool]:
    """Give each region below `smallest` pixels to the neighbour that it borders most."""
    if not objects:
        return []
    objects = sorted(objects, key=lambda m: int(m.sum()))
    owner = numbered(objects, objects[0].shape)
    areas = np.bincount(owner.ravel(), minlength=len(objects) + 1)
    for i in range(1, len(areas)):
        if areas[i] >= smallest:
            continue
        x0, y0, x1, y1 = window_of(owner == i)
        inside = owner[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
        around = dilated(inside == i, 1, square)
        shared = np.bincount(inside[around], minlength=len(areas))
        shared[: i + 1] = 0
        best = int(shared.argmax())
        if shared[best]:
            inside[inside == i] = best
            areas[best] += areas[i]
            areas[i] = 0
    return [owner == i for i in range(1, len(areas)) if areas[i] >= smallest]


def numbered(masks: list[Bool], shape: tuple[int, ...]) -> Int32:
    """(H, W) int32: one more than the index of the mask that holds a pixel, 0 in none."""
    owner = np.zeros(shape, np.int32)
    for number, mask in enumerate(masks, 1):
        owner[mask] = number
    return owner


def score_of(pixels: Bool, region: Bool, analysed: AnalysedPhoto) -> float:
    """Confidence in [0, 1]: how salient the mask is, times how far GrabCut agreed (IoU)."""
    return float(np.clip(analysed.saliency[pixels].mean() * overlap(pixels, region), 0, 1))


def pixels_at(points: list[Point], working_from_photo: float, rgb: Uint8) -> list[Pixel]:
    """The pixels (x, y) of the working picture under points of the photo."""
    scaled = [(p.x_px * working_from_photo, p.y_px * working_from_photo) for p in points]
    right, bottom = rgb.shape[1] - 1, rgb.shape[0] - 1
    return [(min(int(x), right), min(int(y), bottom)) for x, y in scaled]
