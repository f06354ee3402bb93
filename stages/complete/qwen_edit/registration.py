"""Where an edited picture lies on the photo: its zoom and shift, from what both of them show.

An image editor keeps the visible part of an object up to a zoom and a shift of some pixels. Both
are found from the visible pixels alone: first by masked correlation over a grid of zooms in a small
picture, then by Gauss-Newton from coarse to fine (S. Baker, I. Matthews, Lucas-Kanade 20 Years On:
A Unifying Framework, IJCV 56(3), 2004, section 3.1: forward additive), where every residual is
weighted by Tukey's biweight (A. Beaton, J. Tukey, Technometrics 16, 1974), so that what the editor
repainted does not count. Two kinds of pixels do: colours inside the visible mask, less their local
mean, so that a drift of light or tint has no effect; and the object's outline against what is
around it wherever no occluder is near, so that a plain white cup is found too.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.errors import CannotComplete
from scene.morphology import dilated, eroded
from scene.types import Bool, Float32, Float64, Uint8

SMALLEST_SIDE_PX = 96  # of the pyramid, where zoom and shift are looked for
SCALES = np.linspace(0.92, 1.08, 17)
MAX_SHIFT = 0.04  # of the side; 12 px of 1024 are 0.012
MEAN_SIDE = 0.06  # the local mean's window over the side: larger shading has no effect
STEPS = 12  # of Gauss-Newton per level; most need 4
SETTLED_PX = 0.003
TUKEY = 4.685  # residuals of this many deviations have no weight (95 % efficient)
MIN_COLOUR, MIN_OUTLINE = 2.5, 0.06  # least deviations: grey levels of 255, coverage
COLOUR_WEIGHT = 1 / 3  # the three channels of a picture say much the same: together they count once
COARSE_COLOUR, COARSE_OUTLINE = 8.0, 0.15  # deviations by which candidates are compared
ERODED_PX, CLEAR_PX = 2, 3  # from the mask's border inwards; from an occluder outwards
MIN_PIXELS = 64
PRIOR = 0.1  # deviation of zoom and of shift over the side: holds what nothing else does


@dataclass(frozen=True)
class Registration:
    """Where an edit's pixels belong in the photo's crop, whose side is side_px.

    photo = centre + zoom (edit - centre) + shift, in pixels of the crop, for an edit brought to the
    crop's side. spread_px: the standard error of where the object's visible pixels go, by the
    noise of the fit.
    """

    side_px: int
    zoom: float
    shift_x_px: float
    shift_y_px: float
    spread_px: float = 0.0

    def photo_from_edit(self, edit_side_px: int) -> Float64:
        """(3, 3) homography from pixels of an edit of some side to pixels of the crop."""
        scale = self.zoom * self.side_px / edit_side_px
        offset = (1 - self.zoom) * self.side_px / 2
        return np.array(
            [[scale, 0, offset + self.shift_x_px], [0, scale, offset + self.shift_y_px], [0, 0, 1]]
        )

    def distance_px(self, other: Registration, where: Bool) -> Float64:
        """(K,) how far apart two registrations take the True pixels of (side, side)."""
        rows, columns = np.nonzero(where)
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
        edit_from_photo = np.linalg.inv(other.photo_from_edit(self.side_px))
        moved = self.photo_from_edit(self.side_px) @ edit_from_photo @ pixels
        return np.hypot(*(moved - pixels)[:2])


@dataclass(frozen=True, eq=False)
class PyramidLevel:
    """One level of the pyramid, of some side n.

    photo, edit (n, n, 4) float32: colours in grey levels, and coverage in [0, 1]. inside (n, n):
    whose colours must agree; around (n, n): whose coverage must.
    """

    photo: Float32
    edit: Float32
    inside: Bool
    around: Bool

    @property
    def side_px(self) -> int:
        return int(self.photo.shape[0])


def register(edit: Uint8, edit_alpha: Float32, crop: Uint8, unknown: Bool) -> Registration:
    """Find the zoom and shift of an edit.

    edit (M, M, 3) uint8; edit_alpha (M, M) in [0, 1]: how much of a pixel is the object; crop
    (N, N, 4) uint8: the photo, with the visible mask as alpha; unknown (N, N): occluders and what
    is outside the photo, where the visible outline is not the object's own.
    Raises CannotComplete when fewer than 64 pixels inside the object are visible.
    """
    views = pyramid(edit, edit_alpha, crop, unknown)
    if views[0].inside.sum() < MIN_PIXELS:
        raise CannotComplete(f"fewer than {MIN_PIXELS} pixels of the object are visible")
    coarse = views[-1]
    starts = [refine(coarse, place)[0] for place in search(coarse)]
    found = min(starts, key=lambda place: disagreement(coarse, place))
    spread_px = 0.0
    for view in reversed(views):
        found, spread_px = refine(view, found)
    zoom, x, y = (float(value) for value in found)
    return Registration(len(crop), zoom, x * len(crop), y * len(crop), spread_px)


def pyramid(edit: Uint8, edit_alpha: Float32, crop: Uint8, unknown: Bool) -> list[PyramidLevel]:
    """Views from the crop's own side down to about 96 pixels."""
    side = len(crop)
    photo = np.concatenate([crop[..., :3], crop[..., 3:] / 255], -1).astype(np.float32)
    both = np.concatenate([edit, edit_alpha[..., None]], -1).astype(np.float32)
    inside = eroded(crop[..., 3] > 250, ERODED_PX).astype(np.float32)
    around = (~dilated(unknown, CLEAR_PX)).astype(np.float32)
    views = []
    while side >= SMALLEST_SIDE_PX or not views:
        views.append(
            PyramidLevel(
                _smoothed(_resized(photo, side)),
                _smoothed(_resized(both, side)),
                _resized(inside, side) > 0.99,
                _resized(around, side) > 0.99,
            )
        )
        side //= 2
    return views


def search(view: PyramidLevel) -> list[Float64]:
    """Candidates (3,): zoom and shift over the side where colours, outline and both correlate best.

    Correlates at all shifts for every zoom of the grid. The mean is taken out of each channel over
    its own mask, so gain and bias of the colours do not matter. What is painted over may win the
    colours, what is grown the outline: which is right is decided by the robust cost after `refine`.
    """
    side = view.side_px
    margin = int(np.ceil(MAX_SHIFT * side))
    best: dict[str, tuple[float, Float64]] = {}
    for zoom in SCALES:
        large = _warped(view.edit, np.array([zoom, 0, 0]), margin)
        colours = _correlation(large[..., :3], view.photo[..., :3], view.inside)
        outline = _correlation(large[..., 3], view.photo[..., 3], view.around)
        for name, scores in {"c": colours, "o": outline, "b": colours + outline}.items():
            row, column = np.unravel_index(scores.argmax(), scores.shape)
            if name not in best or scores[row, column] > best[name][0]:
                place = np.array([zoom, (margin - column) / side, (margin - row) / side])
                best[name] = (float(scores[row, column]), place)
    return [place for _, place in best.values()]


def _correlation(large: Float32, photo: Float32, use: Bool) -> Float32:
    """(2 margin + 1, 2 margin + 1) masked correlations, -1 to 1; 0 where one of them is flat."""
    if not use.any():
        shape = [a - b + 1 for a, b in zip(large.shape[:2], photo.shape[:2], strict=True)]
        return np.zeros(shape, np.float32)
    mask = use.astype(np.float32)
    mask = mask if photo.ndim == 2 else np.repeat(mask[..., None], photo.shape[2], 2)
    scores = cv2.matchTemplate(large, photo, cv2.TM_CCOEFF_NORMED, mask=mask)
    sound = np.isfinite(scores) & (np.abs(scores) <= 1.001)
    return np.where(sound, scores, 0).astype(np.float32)


def disagreement(view: PyramidLevel, found: Float64) -> float:
    """Mean of Tukey's loss, 0 to 1 each, over colours and outline at stated deviations."""
    warped = _warped(view.edit, found)
    photo, edit = (_less_local_mean(p, view.inside) for p in (view.photo, warped))
    gain, _ = _gains_and_weights(view, photo, edit)
    residual = np.asarray(np.abs(photo - gain * edit), np.float32)
    border = view.around & (_is_edge(view.photo[..., 3]) | _is_edge(warped[..., 3]))
    losses = [_loss(residual[..., :3][view.inside], COARSE_COLOUR)]
    if border.any():
        losses.append(_loss(residual[..., 3][border], COARSE_OUTLINE))
    return float(np.mean(losses))


def _loss(residual: Float32, deviation: float) -> float:
    return float((1 - np.clip(1 - (residual / (TUKEY * deviation)) ** 2, 0, None) ** 3).mean())


def refine(view: PyramidLevel, start: Float64) -> tuple[Float64, float]:
    """(3,) zoom and shift over the side after Gauss-Newton, and their spread on the object in px.

    photo(x) = gain_c edit(W(x)) for each colour, both less their local mean, and likewise for the
    coverage, gain 1. Derivatives by zoom z and shift s of edit(W(x)), W(x) = c + (x - c - s) / z:
    -grad . (x - c - s) / z and -grad, with grad taken in the warped edit.
    """
    side, found = view.side_px, start
    photo = _less_local_mean(view.photo, view.inside)
    use = _box_of(view)
    at = _centred(side)[use]
    information = np.eye(3)
    for _ in range(STEPS):
        warped = _warped(view.edit, found)
        edit = _less_local_mean(warped, view.inside)
        gain, weight = _gains_and_weights(view, photo, edit)
        residual = (photo - gain * edit)[use]
        slope_x, slope_y = (gain * slope[use] for slope in _slopes(warped))
        x, y = (at[..., k, None] - found[1 + k] for k in range(2))  # over the side
        columns = [
            -side * (slope_x * x + slope_y * y) / found[0], -side * slope_x, -side * slope_y
        ]  # fmt: skip
        weighted = [column * weight[use] for column in columns]
        information = np.array([[(a * b).sum() for b in columns] for a in weighted], np.float64)
        information += np.eye(3) / PRIOR**2
        pull = np.array([(a * residual).sum() for a in weighted], np.float64)
        pull -= (found - [1, 0, 0]) / PRIOR**2
        step = np.linalg.solve(information, pull)
        found = found + step
        if side * np.abs(step).max() < SETTLED_PX:
            break
    return found, _spread_px(np.linalg.inv(information).astype(np.float64), view)


def _gains_and_weights(
    view: PyramidLevel, photo: Float32, edit: Float32
) -> tuple[Float32, Float32]:
    """(4,) gains and (n, n, 4) weights: Tukey's biweight over the variance of each channel."""
    gain, weight = np.ones(4, np.float32), np.zeros_like(photo)
    for k in range(4):
        coverage = k == 3
        use = view.around if coverage else view.inside
        if not use.any():
            continue
        a, b = photo[..., k][use], edit[..., k][use]
        if not coverage:
            keep = np.abs(a - b) <= 3 * np.median(np.abs(a - b)) + MIN_COLOUR
            gain[k] = ((a * b)[keep].sum() + 1) / ((b * b)[keep].sum() + 1)
            gain[k] = gain[k].clip(0.5, 2)
        residual = np.abs(a - gain[k] * b)
        telling = _is_edge(a) | _is_edge(b) if coverage else np.ones_like(a, bool)
        middle = float(np.median(residual[telling])) if telling.any() else 0.0
        deviation = max(1.4826 * middle, MIN_OUTLINE if coverage else MIN_COLOUR)
        inlier = np.clip(1 - (residual / (TUKEY * deviation)) ** 2, 0, None) ** 2
        weight[..., k][use] = (1.0 if coverage else COLOUR_WEIGHT) * inlier / deviation**2
    return gain, weight


def _spread_px(covariance: Float64, view: PyramidLevel) -> float:
    """Root mean square over the visible pixels of the standard error of their place."""
    x, y = _centred(view.side_px)[view.inside].T
    one, zero = np.ones_like(x), np.zeros_like(x)
    moves_x, moves_y = np.stack([x, one, zero]), np.stack([y, zero, one])
    variance = sum((m * (covariance @ m)).sum(0).mean() for m in (moves_x, moves_y))
    return float(view.side_px * np.sqrt(variance))


def _warped(image: Float32, found: Float64, margin: int = 0) -> Float32:
    """(n + 2 margin, n + 2 margin, C): the edit as the photo shows it; its border goes on."""
    side = image.shape[0]
    zoom, shift_x, shift_y = found
    # Pixel i has its centre at i + 0.5 here and at i in OpenCV.
    middle = (side - 1) / 2
    offset = np.array([shift_x, shift_y]) * side + (1 - zoom) * middle + margin
    forward = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    size = (side + 2 * margin,) * 2
    return cv2.warpAffine(
        image, forward, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)


def _less_local_mean(image: Float32, inside: Bool) -> Float32:
    """The colours less their mean over the window's inside pixels; coverage as it is."""
    side = image.shape[0]
    window = (2 * max(1, round(MEAN_SIDE * side / 2)) + 1,) * 2
    mask = inside.astype(np.float32)
    share = cv2.blur(mask, window, borderType=cv2.BORDER_CONSTANT)
    mean = cv2.blur(image[..., :3] * mask[..., None], window, borderType=cv2.BORDER_CONSTANT)
    mean /= np.maximum(share, 1e-6)[..., None]
    return np.concatenate([image[..., :3] - mean, image[..., 3:]], -1)


def _slopes(image: Float32) -> tuple[Float32, Float32]:
    """Central differences along x and y, per pixel."""
    along_x = cv2.filter2D(image, -1, np.array([[-0.5, 0, 0.5]]))
    along_y = cv2.filter2D(image, -1, np.array([[-0.5], [0], [0.5]]))
    return np.asarray(along_x, np.float32), np.asarray(along_y, np.float32)


def _box_of(view: PyramidLevel) -> tuple[slice, slice]:
    """The part of the level that counts: the object and its surroundings."""
    rows, columns = np.nonzero((view.photo[..., 3] > 0.02) | (view.edit[..., 3] > 0.02))
    margin = int(np.ceil(MAX_SHIFT * view.side_px)) + 2
    low_row, low_column = max(rows.min() - margin, 0), max(columns.min() - margin, 0)
    return slice(low_row, rows.max() + margin + 1), slice(low_column, columns.max() + margin + 1)


def _centred(side: int) -> Float32:
    """(n, n, 2) pixel centres from the middle, over the side: -0.5 to 0.5."""
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    return np.stack(np.meshgrid(steps, steps), -1).astype(np.float32)


def _is_edge(coverage: Float32) -> Bool:
    return (coverage > 0.03) & (coverage < 0.97)


def _resized(image: Float32, side: int) -> Float32:
    """To (side, side[, C]); averaged when it shrinks."""
    if image.shape[0] == side:
        return image
    smaller = side < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.float32)


def _smoothed(image: Float32) -> Float32:
    """A little blurred: derivatives by differences hold, and single pixels matter less."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.float32)
