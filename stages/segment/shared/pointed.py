"""Which object do points or a box mean? A region of the tree, or what stands out where they are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from scene.errors import BadInput
from scene.types import Bool, Float64, Mask, ObjectPrompt, Uint8
from stages.segment import name_of
from stages.segment.shared.analysed import SALIENT, AnalysedPhoto, pixels_at, score_of
from stages.segment.shared.outline import cut, unlike_surroundings, window_size
from stages.segment.shared.partition import RegionTree, region_tree
from stages.segment.shared.saliency import Pixel, SaliencyMap, Window, clipped

FIT_OF_BOX = 0.7  # a region whose own box agrees this well (IoU) may be what the box means
MIN_BOX_FRACTION = 0.5  # ... if it is at least this share of all that is salient inside the box
EQUAL_FIT = 0.03  # fits of boxes that differ by less are equal
INSIDE_BOX = 0.8  # a superpixel with this share of its pixels inside a box is inside
CLOSER_CROPS = (0.6, 0.35, 0.2)  # sides of the crops around a click, as shares of the photo
CLICK_PX = 3  # radius of the disc that a click makes certain


def segment_prompt(
    analysed: AnalysedPhoto,
    saliency_of: SaliencyMap,
    prompts: tuple[ObjectPrompt, ...],
    chosen: int,
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
        region = region_in_box(analysed, box, saliency_of)
        missed = [(x, y) for x, y in on_object if not region[y, x]]
        if missed:
            rest = replace(analysed, tree=region_tree(analysed.rgb, inside & ~region, False))
            region = region | region_at_points(rest, missed, off_object, saliency_of)
        outside = ~inside
    else:
        region = region_at_points(analysed, on_object, off_object, saliency_of)
        outside = np.zeros(shape, bool)
    certain, never = discs(on_object, shape), discs(off_object, shape) | outside
    pixels = cut(analysed.rgb, (region | certain) & ~never, certain & ~never, never)
    if not region.any() or not pixels.any():
        raise BadInput(
            f"{name_of(prompt, chosen)}: no object stands out there; "
            "move the point, or draw a box around the whole object"
        )
    return Mask(pixels, prompt.label, score_of(pixels, region, analysed))


def object_in_box(
    analysed: AnalysedPhoto,
    box: tuple[float, float, float, float],
    saliency_of: SaliencyMap,
    margin: float,
) -> Mask | None:
    """The object that a box of the photo means, at working size; None where nothing stands out.

    margin: by what fraction of its width and height the object may reach over each side.
    """
    window = working_window(box, analysed)
    region = region_in_box(analysed, window, saliency_of)
    across, down = (margin * (box[i + 2] - box[i]) for i in (0, 1))
    wider = (box[0] - across, box[1] - down, box[2] + across, box[3] + down)
    inside = window_mask(working_window(wider, analysed), region.shape)
    pixels = cut(analysed.rgb, region & inside, np.zeros_like(inside), ~inside)
    return Mask(pixels, "", score_of(pixels, region, analysed)) if pixels.any() else None


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
