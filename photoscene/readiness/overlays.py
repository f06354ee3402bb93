"""Does something lie over a photo: a repeated mark, or letters of one colour on a varied ground?

Both are reported only where little else could be meant; a single faint mark is not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from photoscene.readiness.findings import ramp
from photoscene.readiness.objects import shrunk
from scene.morphology import dilated, square
from scene.types import Float32, Uint8

REPEAT_PX, LETTER_PX = 640, 1280  # long sides at which each is looked for
DETAIL_SIGMA_PX, DETAIL_LEVELS = 2.0, 6.0
NEAREST_PX = 40  # nearer repeats are the texture of things
MAX_OFFSET_FRACTION = 0.6  # of the sides: farther copies overlap too little to tell
RING_PX = (6, 8)  # what a copy repeats stands out of its surroundings; a long edge does not
PEAKS = 3  # a mark that is repeated over the photo has at least as many neighbours
# The third peak over the usual level: photos without a mark reach 4, faint ones begin at 5.
CLEAR_OF_PEAKS = (5.0, 10.0)
SQUARES, EVERYWHERE = 4, 0.5  # a mark is in most of 4 x 4 squares
LETTER_HEIGHT_PX = (7, 120)
MIN_LETTERS = 6
STROKE_OVER = 40  # grey levels between a letter and its ground
PURE = 228  # letters are white, or black, as most marks are: shading leaves print less pure
EVEN_STROKE, VARIED_GROUND = 8.0, 10.0  # deviation in grey levels
GROUND_HEIGHTS = 4  # to both sides of a letter
SAME_COLOUR = 10.0  # grey levels between the letters of a row


def overlay_hint(rgb: Uint8) -> float:
    """0 for nothing, 1 for what is almost certainly a watermark or a caption."""
    return max(repeated_hint(rgb), float(has_letters(rgb)))


def repeated_hint(rgb: Uint8) -> float:
    """How clearly the same mark is repeated all over the photo, 0 to 1.

    Copies of a mark lie at exact distances, which things in perspective do not: the faint details'
    autocorrelation then has sharp peaks. Strong edges count no more than faint ones.
    """
    grey = cv2.cvtColor(shrunk(rgb, REPEAT_PX), cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), DETAIL_SIGMA_PX)
    detail = np.clip(detail, -DETAIL_LEVELS, DETAIL_LEVELS)
    alike = cv2.GaussianBlur(_autocorrelation(detail - detail.mean()), (0, 0), 1.0)
    height, width = grey.shape
    y, x = np.mgrid[-height:height, -width:width]
    far = np.hypot(x, y)
    tried = (far > NEAREST_PX) & (y >= 0)
    tried &= (np.abs(y) < MAX_OFFSET_FRACTION * height) & (np.abs(x) < MAX_OFFSET_FRACTION * width)
    if tried.sum() < 1000:
        return 0.0
    usual = 1.4826 * float(np.median(np.abs(alike[tried] - np.median(alike[tried]))))
    last = 0.0
    standing_out = np.where(tried, alike - cv2.dilate(alike, _ring()), -np.inf)
    for _ in range(PEAKS):
        at = np.unravel_index(standing_out.argmax(), standing_out.shape)
        last = float(standing_out[at])
        if _spread(detail, int(x[at]), int(y[at])) < EVERYWHERE:
            return 0.0
        for sign in (1, -1):
            standing_out[np.hypot(x - sign * x[at], y - sign * y[at]) < 16] = -np.inf
    return 1 - ramp(last / max(usual, 1e-6), *CLEAR_OF_PEAKS)


def _spread(detail: Float32, right: int, down: int) -> float:
    """Fraction of the photo's squares whose details are like those (right, down) of them."""
    height, width = detail.shape
    left, other = max(0, -right), max(0, right)
    here = detail[: height - down, left : width - other]
    there = detail[down:, left + right : width - other + right]
    product = here * there
    rows, columns = (n // SQUARES for n in product.shape)
    if rows == 0 or columns == 0:
        return 0.0
    whole = product[: rows * SQUARES, : columns * SQUARES]
    means = whole.reshape(SQUARES, rows, SQUARES, columns).mean((1, 3))
    return float((means > max(0.0, 0.2 * float(means.mean()))).mean())


def _autocorrelation(values: Float32) -> Float32:
    """(2 H, 2 W) float32 by shift, the middle is no shift and 1; as if nothing lay outside."""
    size = (2 * values.shape[0], 2 * values.shape[1])
    power, area = (
        np.fft.irfft2(np.abs(np.fft.rfft2(v, size)) ** 2, size)
        for v in (values, np.ones_like(values))
    )
    shifted = np.fft.fftshift(power / np.maximum(area, 1))
    middle = float(shifted[values.shape])
    return (shifted / max(middle, 1e-6)).astype(np.float32)


def _ring() -> Uint8:
    near, far = RING_PX
    y, x = np.mgrid[-far : far + 1, -far : far + 1]
    radius = np.hypot(x, y)
    return ((radius >= near) & (radius <= far)).astype(np.uint8)


@dataclass(frozen=True)
class Letter:
    """A stroke of one colour: its box in pixels and its grey level."""

    x: int
    y: int
    width: int
    height: int
    level: float


def has_letters(rgb: Uint8) -> bool:
    """Whether a row of letters of one even colour lies on a ground that varies under them.

    Print in a scene has shading of its own, or a plain ground.
    """
    grey = np.asarray(cv2.cvtColor(shrunk(rgb, LETTER_PX), cv2.COLOR_RGB2GRAY), np.uint8)
    return any(_longest_row(_letters(side)) >= MIN_LETTERS for side in (grey, 255 - grey))


def _letters(grey: Uint8) -> list[Letter]:
    """White strokes that are even in themselves and lie on a ground that is neither white nor
    plain."""
    kernel = np.ones((25, 25), np.uint8)
    over = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel) > STROKE_OVER
    strokes = over & (grey >= PURE)
    around = dilated(over, 1, square)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8))
    found = []
    low, high = LETTER_HEIGHT_PX
    for index in range(1, count):
        x, y, width, height, area = (int(v) for v in stats[index])
        if not (low <= height <= high and width <= 2 * height and 0.15 <= area / (width * height)):
            continue
        rows = slice(max(0, y - height // 2), y + height + height // 2)
        # The ground of a whole row is seen here: one letter's is too little to be varied.
        columns = slice(max(0, x - GROUND_HEIGHTS * height), x + width + GROUND_HEIGHTS * height)
        ground = grey[rows, columns][~around[rows, columns]]
        values = grey[rows, columns][parts[rows, columns] == index]
        if ground.size < 20 or ground.std() < VARIED_GROUND or values.std() > EVEN_STROKE:
            continue
        found.append(Letter(x, y, width, height, float(np.median(values))))
    return found


def _longest_row(letters: list[Letter]) -> int:
    """How many letters the longest row has: side by side, alike in height, place and colour."""
    ordered = sorted(letters, key=lambda letter: letter.x)
    lengths: list[int] = []
    for i, letter in enumerate(ordered):
        before = [lengths[j] for j in range(i) if _is_next_letter(ordered[j], letter)]
        lengths.append(1 + max(before, default=0))
    return max(lengths, default=0)


def _is_next_letter(left: Letter, right: Letter) -> bool:
    height = max(left.height, right.height)
    gap = right.x - (left.x + left.width)
    shared = min(left.y + left.height, right.y + right.height) - max(left.y, right.y)
    return (
        -0.2 * height <= gap <= 0.9 * height
        and shared >= 0.6 * min(left.height, right.height)
        and height <= 2.0 * min(left.height, right.height)
        and abs(left.level - right.level) <= SAME_COLOUR
    )
