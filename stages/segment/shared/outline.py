"""Where exactly an object ends: GrabCut in a band around a region, then the photo's own edges."""

from __future__ import annotations

import cv2
import numpy as np

from scene.morphology import disc
from scene.types import Bool, Uint8
from stages.segment.shared.memory import remembered
from stages.segment.shared.saliency import Window, clipped

GRABCUT_ROUNDS = 2
# GrabCut may change this much of a region (IoU) before it counts as having lost the object.
KEPT_BY_GRABCUT = 0.6
# Half the band in which GrabCut may move the outline: a share of the object's size, plus pixels.
BAND_FRACTION = 0.015
BAND_PX = 3.0
PIECE_FRACTION = 0.15  # a separate piece of an object is at least this share of the largest one
HOLE_FRACTION = 0.005  # holes below this share of the object are noise, not handles
FULL_BOX = 0.98  # a box filled to this share was not divided by colour
GUIDE_NOISE = 1e-4  # the guided filter's epsilon, squared grey value in [0, 1]


@remembered(64)
def cut(rgb: Uint8, region: Bool, certain: Bool, never: Bool) -> Bool:
    """Move a region's outline onto the photo's colours by GrabCut in a band around it.

    rgb (H, W, 3) uint8; region, certain (always inside) and never (always outside) (H, W) bool.
    """
    if not region.any():
        return region
    window = window_of(region)
    reach = BAND_FRACTION * np.sqrt(float(region.sum())) + BAND_PX
    x0, y0, x1, y1 = clipped(window, 3 * reach + 0.3 * max(*window_size(window)), rgb)
    inside = np.s_[y0:y1, x0:x1]
    mask = region[inside].astype(np.uint8)
    trimap = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    trimap[cv2.dilate(mask, ellipse(reach)) > 0] = cv2.GC_PR_BGD
    trimap[mask > 0] = cv2.GC_PR_FGD
    trimap[cv2.erode(mask, ellipse(reach)) > 0] = cv2.GC_FGD
    trimap[never[inside]] = cv2.GC_BGD
    trimap[certain[inside]] = cv2.GC_FGD
    cut_mask = grabcut(rgb[inside], trimap)
    pixels = np.zeros_like(region)
    pixels[inside] = in_one_piece(cut_mask, region[inside])
    return pixels if overlap(pixels, region) >= KEPT_BY_GRABCUT else region


def grabcut(rgb: Uint8, trimap: Uint8) -> Bool:
    """(H, W) bool foreground of GrabCut from a trimap of cv2.GC_* values."""
    sure_or_likely = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    if sure_or_likely.all() or not sure_or_likely.any():
        return sure_or_likely
    # GrabCut starts its colour mixtures by k-means from OpenCV's own random numbers.
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    labels = trimap.copy()
    cv2.grabCut(
        np.ascontiguousarray(rgb[..., ::-1]), labels, (0, 0, 0, 0), background, foreground,
        GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK,
    )  # fmt: skip
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def unlike_surroundings(rgb: Uint8, inside: Bool) -> Bool:
    """(H, W) bool: what differs in colour from all that lies outside a box; empty if nothing does.

    The rectangle prompt of Rother et al. 2004.
    """
    trimap = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    found = grabcut(rgb, trimap)
    return found if found.sum() < FULL_BOX * inside.sum() else np.zeros_like(found)


def in_one_piece(mask: Bool, region: Bool) -> Bool:
    """A mask without specks beside it and pinholes in it.

    Components stay where they hold a good share of the region: an occluder may divide an object.
    """
    radius = max(1.0, 0.006 * np.sqrt(float(mask.sum())))
    smooth, wide = (cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_OPEN, ellipse(radius)) > 0
                    for m in (mask, region))  # fmt: skip
    # What is thin in the region itself is a part of the object, not a whisker.
    smooth |= mask & region & ~wide
    count, parts = cv2.connectedComponents(smooth.astype(np.uint8), connectivity=4)
    areas = np.bincount(parts[region], minlength=count)[1:]
    if areas.size == 0 or areas.max() == 0:
        return np.zeros_like(mask)
    kept = np.nonzero(areas >= PIECE_FRACTION * areas.max())[0] + 1
    solid = np.isin(parts, kept)
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~solid).astype(np.uint8), connectivity=4)
    small = np.nonzero(stats[:, cv2.CC_STAT_AREA] < HOLE_FRACTION * solid.sum())[0]
    return solid | np.isin(holes, small)


def enlarged(mask: Bool, rgb: Uint8) -> Bool:
    """Bring a mask (h, w) bool onto the edges of a larger photo (H, W, 3) uint8: (H, W) bool.

    A guided filter, guided by grey values: He et al. 2013, "Guided Image Filtering", equations
    5, 6 and 8.
    """
    if mask.shape == rgb.shape[:2]:
        return mask
    scale = max(rgb.shape[0] / mask.shape[0], rgb.shape[1] / mask.shape[1])
    edge = 3 * scale
    window = window_of(mask)
    grown = tuple(value * scale for value in window)
    x0, y0, x1, y1 = clipped(grown, 4 * edge, rgb)
    # As cv2.resize of the whole mask would have it, in the window alone.
    across, down = mask.shape[1] / rgb.shape[1], mask.shape[0] / rgb.shape[0]
    mask_from_window = np.array(
        [[across, 0, (x0 + 0.5) * across - 0.5], [0, down, (y0 + 0.5) * down - 0.5]]
    )
    coarse = cv2.warpAffine(
        mask.astype(np.float32), mask_from_window, (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    guide = cv2.cvtColor(rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    box = (2 * round(edge) + 1,) * 2
    mean_guide, mean_mask = cv2.blur(guide, box), cv2.blur(coarse, box)
    covariance = cv2.blur(guide * coarse, box) - mean_guide * mean_mask
    variance = cv2.blur(guide * guide, box) - mean_guide**2
    slope = covariance / (variance + GUIDE_NOISE)
    offset = mean_mask - slope * mean_guide
    fine = cv2.blur(slope, box) * guide + cv2.blur(offset, box)
    pixels = np.zeros(rgb.shape[:2], bool)
    pixels[y0:y1, x0:x1] = in_one_piece(fine > 0.5, coarse > 0.5)
    return pixels


def window_of(mask: Bool) -> Window:
    """The tight window of a mask that is not empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def window_size(window: Window) -> tuple[int, int]:
    """Width and height of a window."""
    return window[2] - window[0], window[3] - window[1]


def overlap(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    return float((a & b).sum() / max(int((a | b).sum()), 1))


def ellipse(radius_px: float) -> Uint8:
    """A round structuring element."""
    return disc(max(1, round(radius_px)))
