"""Segment objects without learned prompts: saliency proposes, merged regions choose, GrabCut cuts.

Saliency (U-2-Net-p) separates objects from their support, and the support's colours where it is too
coarse; the tree of merged superpixels separates objects from each other; GrabCut (Rother et al.
2004, "GrabCut: interactive foreground extraction using iterated graph cuts") moves the outline onto
the photo's colours.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np

from scene.errors import BadInput
from scene.morphology import dilated, square
from scene.types import Bool, Float32, Float64, Mask, ObjectPrompt, Photo, Point, Uint8
from stages.segment import SegmentBackend, name_of
from stages.segment.grabcut.ground import object_pixels
from stages.segment.grabcut.outline import (
    cut,
    enlarged,
    overlap,
    unlike_surroundings,
    window_of,
    window_size,
)
from stages.segment.grabcut.partition import Int32, RegionTree, region_tree
from stages.segment.grabcut.saliency import (
    FAINT,
    WEIGHTS_SHA256,
    Pixel,
    SaliencyMap,
    Window,
    clipped,
    closer_saliency,
    load_saliency,
)

log = logging.getLogger(__name__)

SALIENT = 0.5  # saliency above this belongs to an object
FIT_OF_BOX = 0.7  # a region whose own box agrees this well (IoU) may be what the box means
MIN_BOX_FRACTION = 0.5  # ... if it is at least this share of all that is salient inside the box
EQUAL_FIT = 0.03  # fits of boxes that differ by less are equal
INSIDE_BOX = 0.8  # a superpixel with this share of its pixels inside a box is inside
CLOSER_CROPS = (0.6, 0.35, 0.2)  # sides of the crops around a click, as shares of the photo
CLICK_PX = 3  # radius of the disc that a click makes certain


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


@dataclass(frozen=True, eq=False)
class GrabCut:
    """The classical backend: deterministic, on one CPU core."""

    settings: Settings
    saliency_of: SaliencyMap

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt in order, or without prompts one per object found, largest first.

        Masks are (H, W) bool at the photo's size. `files` are another backend's business and are
        ignored. Raises BadInput where a prompt cannot be followed.
        """
        for index, prompt in enumerate(prompts):
            check_prompt(prompt, name_of(prompt, index))
        # A box brings its own closer look; without prompts every part of the photo gets one.
        clicks = [p for q in prompts if q.box is None for p in q.points if p.foreground]
        analysed = analyse(photo, self.saliency_of, self.settings, clicks if prompts else None)
        if prompts:
            masks = [self.segment_prompt(analysed, prompts, index) for index in range(len(prompts))]
        else:
            masks = propose(analysed, self.settings)
        return [replace(mask, pixels=enlarged(mask.pixels, photo.rgb)) for mask in masks]

    def segment_prompt(
        self, analysed: AnalysedPhoto, prompts: tuple[ObjectPrompt, ...], chosen: int
    ) -> Mask:
        """The object that prompt number `chosen` means, at working size."""
        prompt = prompts[chosen]
        # What another prompt points at is another object.
        rivals = [p for other in prompts if other is not prompt for p in other.points]
        off = [p for p in prompt.points if not p.foreground] + [p for p in rivals if p.foreground]
        on = [p for p in prompt.points if p.foreground]
        on_object, off_object = (
            pixels_at(p, analysed.working_from_photo, analysed.rgb) for p in (on, off)
        )
        shape = analysed.saliency.shape
        if prompt.box is not None:
            box = working_window(prompt.box, analysed)
            inside = window_mask(box, shape)
            region = region_in_box(analysed, box, self.saliency_of)
            missed = [(x, y) for x, y in on_object if not region[y, x]]
            if missed:
                rest = replace(analysed, tree=region_tree(analysed.rgb, inside & ~region, False))
                region = region | region_at_points(rest, missed, off_object, self.saliency_of)
            outside = ~inside
        else:
            region = region_at_points(analysed, on_object, off_object, self.saliency_of)
            outside = np.zeros(shape, bool)
        certain, never = discs(on_object, shape), discs(off_object, shape) | outside
        pixels = cut(analysed.rgb, (region | certain) & ~never, certain & ~never, never)
        if not region.any() or not pixels.any():
            raise BadInput(
                f"{name_of(prompt, chosen)}: no object stands out there; "
                "move the point, or draw a box around the whole object"
            )
        return Mask(pixels, prompt.label, score_of(pixels, region, analysed))


def load(settings: Settings, device: str) -> GrabCut:
    """Read the saliency weights; every device means the CPU here."""
    return GrabCut(settings, load_saliency())


def check_prompt(prompt: ObjectPrompt, name: str) -> None:
    """Raise BadInput where a prompt has nothing to point at."""
    if prompt.box is None and not any(p.foreground for p in prompt.points):
        words = f"only the words {prompt.text!r}" if prompt.text else "no box and no point on it"
        raise BadInput(
            f"{name} has {words}: grabcut understands points and boxes, not words; "
            "give --point or --box, or choose a backend that knows words"
        )


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


def region_in_box(analysed: AnalysedPhoto, box: Window, saliency_of: SaliencyMap) -> Bool:
    """(H, W) bool: the region that fits a box best, else what stands out inside it."""
    x0, y0, x1, y1 = clipped(box, 4 + 0.15 * max(*window_size(box)), analysed.rgb)
    saliency = np.zeros_like(analysed.saliency)
    saliency[y0:y1, x0:x1] = saliency_of(analysed.rgb[y0:y1, x0:x1])
    near = np.zeros(saliency.shape, bool)
    near[y0:y1, x0:x1] = True
    salient = near & (np.maximum(saliency, analysed.saliency) > SALIENT)
    tree = region_tree(analysed.rgb, salient, False)  # a box says what belongs to it
    inside = window_mask(box, salient.shape)
    labels = tree.superpixels.ravel()
    areas = np.bincount(labels, minlength=1)[1:]
    if len(areas) == 0:
        return unlike_surroundings(analysed.rgb, inside)
    share_inside = np.bincount(labels[inside.ravel()], minlength=len(areas) + 1)[1:] / areas
    everything = np.concatenate([[False], share_inside >= INSIDE_BOX])[tree.superpixels]
    fits = window_fits(tree, box)
    # Print and handles hardly move a region's own box: among equal fits the largest is whole.
    good = np.nonzero(fits >= max(fits.max() - EQUAL_FIT, FIT_OF_BOX))[0]
    if len(good):
        best = tree.mask(int(good[np.argmax((tree.members @ areas)[good])]))
        if best.sum() >= MIN_BOX_FRACTION * everything.sum():
            return best
    return everything if everything.any() else unlike_surroundings(analysed.rgb, inside)


def window_fits(tree: RegionTree, box: Window) -> Float64:
    """(R,) how well the own box of each region agrees with a box: intersection over union."""
    from scipy.ndimage import find_objects

    own = [(x.start, y.start, x.stop, y.stop) for y, x in find_objects(tree.superpixels)]
    corners = np.array(own, np.float64)
    low = np.where(tree.members[..., None], corners[None, :, :2], np.inf).min(1)
    high = np.where(tree.members[..., None], corners[None, :, 2:], -np.inf).max(1)
    shared = np.maximum(np.minimum(high, box[2:]) - np.maximum(low, box[:2]), 0).prod(1)
    return shared / ((high - low).prod(1) + float(np.prod(window_size(box))) - shared)


def region_at_points(
    analysed: AnalysedPhoto,
    on_object: list[Pixel],
    off_object: list[Pixel],
    saliency_of: SaliencyMap,
) -> Bool:
    """(H, W) bool: for each wanted pixel the largest region, within one object, around it that
    holds no unwanted pixel; empty where nothing salient is found at any wanted pixel."""
    tree = analysed.tree
    if not any(tree.superpixels[y, x] for x, y in on_object):
        tree = region_tree(analysed.rgb, salient_at(analysed.rgb, on_object, saliency_of))
    if len(tree.members) == 0:
        return np.zeros(analysed.saliency.shape, bool)
    areas = tree.members @ np.bincount(tree.superpixels.ravel(), minlength=1)[1:]
    holds_unwanted = np.zeros(len(tree.members), bool)
    for x, y in off_object:
        if tree.superpixels[y, x]:
            holds_unwanted |= tree.members[:, tree.superpixels[y, x] - 1]
    region = np.zeros(analysed.saliency.shape, bool)
    for x, y in on_object:
        column = int(tree.superpixels[y, x]) - 1
        if column < 0:
            continue
        whole = next(i for i in tree.objects if tree.members[i, column])
        part_of_whole = ~(tree.members & ~tree.members[whole]).any(1)
        fitting = tree.members[:, column] & part_of_whole & ~holds_unwanted
        # A superpixel's own row is its column: the smallest region there is.
        largest = int(np.where(fitting, areas, 0).argmax()) if fitting.any() else column
        region |= tree.mask(largest)
    return region


def salient_at(rgb: Uint8, on_object: list[Pixel], saliency_of: SaliencyMap) -> Bool:
    """(H, W) bool: what is salient in the widest crop that shows every wanted pixel as salient."""
    height, width = rgb.shape[:2]
    xs, ys = [x for x, _ in on_object], [y for _, y in on_object]
    points = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
    for share in CLOSER_CROPS:
        reach = share * max(width, height) / 2
        x0, y0, x1, y1 = clipped(points, reach, rgb)
        salient = np.zeros((height, width), bool)
        salient[y0:y1, x0:x1] = saliency_of(rgb[y0:y1, x0:x1]) > SALIENT
        if all(salient[y, x] for x, y in on_object):
            return salient
    return np.zeros((height, width), bool)


def score_of(pixels: Bool, region: Bool, analysed: AnalysedPhoto) -> float:
    """Confidence in [0, 1]: how salient the mask is, times how far GrabCut agreed (IoU)."""
    return float(np.clip(analysed.saliency[pixels].mean() * overlap(pixels, region), 0, 1))


def pixels_at(points: list[Point], working_from_photo: float, rgb: Uint8) -> list[Pixel]:
    """The pixels (x, y) of the working picture under points of the photo."""
    scaled = [(p.x_px * working_from_photo, p.y_px * working_from_photo) for p in points]
    right, bottom = rgb.shape[1] - 1, rgb.shape[0] - 1
    return [(min(int(x), right), min(int(y), bottom)) for x, y in scaled]


def discs(centres: list[Pixel], shape: tuple[int, ...]) -> Bool:
    """(H, W) bool discs of the width of a click."""
    drawn = np.zeros(shape, np.uint8)
    for centre in centres:
        cv2.circle(drawn, centre, CLICK_PX, 1, -1)
    return drawn > 0


def working_window(box: tuple[float, float, float, float], analysed: AnalysedPhoto) -> Window:
    """A box of the photo, cut to it, as a window of the working picture."""
    x0, y0, x1, y1 = (value * analysed.working_from_photo for value in box)
    height, width = analysed.saliency.shape
    left, top = min(max(int(x0), 0), width - 1), min(max(int(y0), 0), height - 1)
    right, bottom = min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def window_mask(window: Window, shape: tuple[int, ...]) -> Bool:
    """(H, W) bool of a window."""
    mask = np.zeros(shape, bool)
    mask[window[1] : window[3], window[0] : window[2]] = True
    return mask


BACKEND = SegmentBackend(
    version="5", settings=Settings, load=load, loading=(), weights_sha256=WEIGHTS_SHA256
)
