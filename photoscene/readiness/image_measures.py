"""How good are a photo's pixels: blur, exposure, noise and blocks, each as one number."""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool, Float32, Uint8

FINE_PX, COARSE_PX = 1.0, 2.0  # Gaussians through which slopes are measured
DIFFERENCE_PX2 = 1 / 3  # variance that a difference over two pixels adds
SHARPEST = 25.0  # percentile of the edges' blur: a blurred background is no fault
STRONG_EDGE = 0.3  # of the strongest edges' slope
MIN_SLOPE = 0.4  # grey levels per pixel, below which an edge is none
MIN_EDGE_PX = 40
MAX_BLUR_PX = 12.0
WHITE, BLACK = 252, 6
NOISE_BLOCK_PX = 16
QUIET_BLOCKS = 20.0  # percentile: some blocks of a photo show nothing but noise
JPEG_BLOCK_PX = 8


def grey_of(rgb: Uint8) -> Float32:
    """(H, W) float32 luma 0 to 255."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def edge_blur_px(grey: Float32, inside: Bool) -> float | None:
    """The sharpest edges' blur as a Gaussian's sigma in pixels; None where there are no edges.

    An edge of blur s has slopes in the ratio R = sqrt((s^2 + 2^2) / (s^2 + 1^2)) when seen
    through Gaussians of 1 and 2 pixels, whatever its contrast (Zhuo and Sim 2011, equation 5).
    """
    fine, _, _ = _slopes(grey, FINE_PX)
    coarse, gx, gy = _slopes(grey, COARSE_PX)
    if not inside.any():
        return None
    strongest = float(np.percentile(coarse[inside], 99.5))
    # White noise of deviation n has slopes of n / (sqrt(8 pi) sigma^2) through a Gaussian.
    floor = 4 * noise_level(grey) / (np.sqrt(8 * np.pi) * COARSE_PX**2)
    edges = inside & (coarse > max(MIN_SLOPE, floor, STRONG_EDGE * strongest))
    edges &= _is_ridge(coarse, np.abs(gx) >= np.abs(gy))
    if edges.sum() < MIN_EDGE_PX:
        return None
    squared = (fine[edges] / coarse[edges]) ** 2
    blur = (COARSE_PX**2 - squared * FINE_PX**2) / np.maximum(squared - 1, 1e-6)
    own = np.clip(blur - DIFFERENCE_PX2, 0, MAX_BLUR_PX**2)
    return float(np.percentile(np.sqrt(own), SHARPEST))


def _slopes(grey: Float32, sigma_px: float) -> tuple[Float32, Float32, Float32]:
    """The gradient's length and both parts, of the image through a Gaussian."""
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma_px)
    gx, gy = (
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, *along, ksize=1, scale=0.5), np.float32)
        for along in ((1, 0), (0, 1))
    )
    return np.asarray(cv2.magnitude(gx, gy), np.float32), gx, gy


def _is_ridge(slope: Float32, across: Bool) -> Bool:
    """Where the slope is the steepest of its row (across) or column neighbours."""
    padded = np.pad(slope, 1)
    rows = (slope >= padded[1:-1, :-2]) & (slope >= padded[1:-1, 2:])
    columns = (slope >= padded[:-2, 1:-1]) & (slope >= padded[2:, 1:-1])
    return np.where(across, rows, columns)


def noise_level(grey: Float32) -> float:
    """Deviation of the noise in grey levels, from the blocks with the least structure.

    A mask that planes and edges along an axis vanish under (Immerkaer 1996) leaves 6 times it.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rest = np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)) * np.sqrt(np.pi / 2) / 6
    size = NOISE_BLOCK_PX if min(grey.shape) >= 4 * NOISE_BLOCK_PX else 4
    level, mean = _block_means(rest, size), _block_means(grey, size)
    usable = level[(mean > 12) & (mean < 243)]  # noise is cut off at both ends
    return float(np.percentile(usable, QUIET_BLOCKS)) if usable.size else 0.0


def _block_means(values: Float32, size: int) -> Float32:
    rows, columns = (n // size for n in values.shape)
    whole = values[: rows * size, : columns * size]
    return whole.reshape(rows, size, columns, size).mean((1, 3))


def burnt_percent(rgb: Uint8, inside: Bool) -> float:
    """Percent of the pixels inside whose three channels are all white."""
    return _percent(rgb.min(-1) >= WHITE, inside)


def black_percent(grey: Float32, inside: Bool) -> float:
    """Percent of the pixels inside that are black."""
    return _percent(grey <= BLACK, inside)


def _percent(which: Bool, inside: Bool) -> float:
    return 100 * float(which[inside].mean()) if inside.any() else 0.0


def contrast_levels(grey: Float32) -> float:
    """From the darkest to the brightest 2 % of the photo, in grey levels."""
    low, high = np.percentile(grey, [2, 98])
    return float(high - low)


def block_steps(grey: Float32) -> float:
    """Extra steps at every eighth pixel, in grey levels: what JPEG's blocks leave.

    The lesser of both directions: a pattern of stripes or tiles seldom has 8 pixels in both.
    """
    if min(grey.shape) < 4 * JPEG_BLOCK_PX:
        return 0.0
    return min(_steps(grey), _steps(grey.T))


def _steps(grey: Float32) -> float:
    """Along the rows: how much steeper the steepest of 8 phases is than the others."""
    step = np.abs(np.diff(grey, axis=1))
    extra = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2
    # An edge of the photo itself may lie anywhere, and must not count more than a step of a block.
    extra = np.clip(extra, -24, 24).mean(0)
    phases = np.array([extra[k::JPEG_BLOCK_PX].mean() for k in range(JPEG_BLOCK_PX)])
    return max(0.0, float(phases.max() - np.median(phases)))
