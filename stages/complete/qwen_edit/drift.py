"""Whether a registered edit still shows what the photo shows; and its colours put right."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.cameras import warp
from scene.morphology import dilated, eroded
from scene.types import Bool, Float32, Float64, Uint8
from stages.complete.qwen_edit.background import to_lab
from stages.complete.qwen_edit.registration import Registration

# What is accepted. Editors tint, shade and redraw fine pattern; a drawn object that differs by
# more is another one, or another view of it.
MAX_SHIFT_LAB = 20.0  # of the visible part's colour, by the median
OFF_LAB, MAX_OFF = 12.0, 0.2  # a colour that is off after correction; how many may be
MAX_MISSING, MAX_EXTRA = 0.06, 0.10  # of the visible area: not drawn; drawn where it is not
MIN_PATTERN, PATTERN_LEVELS = 0.4, 4.0  # correlation; the contrast from which there is a pattern
MAX_OUTLINE = 0.012  # over the side, of the outline's distances: a stretched or turned object
OUTLINE_QUANTILE = 0.8  # a shadow or a bad piece of the mask is not a fifth of the outline
MAX_SCALE_OFF, MAX_SHIFT_OFF = 0.08, 0.04  # the search's own range, over the side
MAX_SPREAD_PX = 1.0
COARSE = 1 / 128  # over the side: colours are compared at this blur, so edges need not be sharp
WIDE = 0.06  # over the side: pattern is what lies between the two
FLAT_LEVELS = 10.0  # contrast below which an object's gain cannot be separated from its bias
ERODED = 0.008  # over the side: masks are cut a little too large
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class RegisteredEdit:
    """An edit on the photo's crop: rgb (N, N, 3) in grey levels, alpha (N, N) in [0, 1]."""

    rgb: Float32
    alpha: Float32


@dataclass(frozen=True)
class Tint:
    """photo = gain * edit + bias per channel, (3,) each, in grey levels."""

    gain: Float64
    bias: Float64

    def apply(self, rgb: Float32) -> Float32:
        """Colours (..., 3) as the photo has them."""
        return (rgb * self.gain + self.bias).clip(0, 255).astype(np.float32)


@dataclass(frozen=True)
class Agreement:
    """How a registered edit differs from the photo; see the constants of this file.

    shift: of the colour, the median in Lab; off, missing, extra: shares of the visible area;
    pattern: the correlation of what lies between two blurs where the colour is not off, 1 without
    contrast; outline: over the side, how far the visible outline is from the drawn one for most of
    its length that nothing hides.
    """

    shift: float
    off: float
    missing: float
    extra: float
    pattern: float
    outline: float

    def rejection(self) -> str:
        """Why the edit is another picture, "" if it is not."""
        if self.missing > MAX_MISSING:
            return f"{self.missing:.0%} of what is visible is not drawn"
        if self.extra > MAX_EXTRA:
            return f"the outline grew by {self.extra:.0%} where the photo shows that it ends"
        if self.outline > MAX_OUTLINE:
            return f"the outline is another one (off by {self.outline:.1%} of the picture)"
        if self.shift > MAX_SHIFT_LAB:
            return f"the colour changed by {self.shift:.0f} Lab units"
        if self.off > MAX_OFF:
            return f"{self.off:.0%} of what is visible is painted anew"
        if self.pattern < MIN_PATTERN:
            return f"the pattern of what is visible is another (correlation {self.pattern:.2f})"
        return ""


def on_photo(edit: Uint8, alpha: Float32, where: Registration, plain: Float64) -> RegisteredEdit:
    """The edit (M, M, 3) with its coverage (M, M) brought to the crop by one resampling.

    plain (3,): the colour around it, for pixels that come from beyond its border.
    """
    homography = where.photo_from_edit(edit.shape[0])
    around = np.concatenate([plain, [0]])
    both = np.concatenate([edit, alpha[..., None]], -1).astype(np.float32) - around
    both = warp(both, homography, where.side_px) + around
    return RegisteredEdit(
        both[..., :3].clip(0, 255).astype(np.float32), both[..., 3].clip(0, 1).astype(np.float32)
    )


def tint_of(edit: RegisteredEdit, crop: Uint8) -> Tint:
    """The gain and bias that bring the edit's colours to the photo's, robust to repainting.

    A plain object's gain is left near 1: its own contrast does not determine it.
    """
    core = _core(crop)
    photo = _blurred(crop[..., :3].astype(np.float32), core)[core].astype(np.float64)
    drawn = _blurred(edit.rgb, core)[core].astype(np.float64)
    weight = np.ones(len(photo))
    gain, bias = np.ones(3), np.zeros(3)
    for _ in range(ROUNDS):
        total = weight.sum() + 1e-9
        mean_photo, mean_drawn = (weight @ photo) / total, (weight @ drawn) / total
        a, b = photo - mean_photo, drawn - mean_drawn
        prior = FLAT_LEVELS**2
        gain = ((weight @ (a * b)) / total + prior) / ((weight @ (b * b)) / total + prior)
        gain = gain.clip(0.5, 2)
        bias = mean_photo - gain * mean_drawn
        residual = np.linalg.norm(photo - gain * drawn - bias, axis=1)
        deviation = max(1.4826 * float(np.median(residual)), 2.0)
        weight = np.clip(1 - (residual / (4.685 * deviation)) ** 2, 0, None) ** 2
    return Tint(gain, bias)


def agreement(edit: RegisteredEdit, tint: Tint, crop: Uint8, unknown: Bool) -> Agreement:
    """Compare a registered edit with the photo where both show the object, or should.

    crop (N, N, 4): the photo, with the visible mask as alpha; unknown (N, N): occluders and what
    is outside the photo.
    """
    visible, core = crop[..., 3] > 127, _core(crop)
    area = float(visible.sum())
    photo = crop[..., :3].astype(np.float32)
    seen, drawn = _blurred(photo, core), _blurred(edit.rgb, core)
    before = np.linalg.norm(np.median(to_lab(seen[core]) - to_lab(drawn[core]), axis=0))
    apart = np.linalg.norm(to_lab(seen[core]) - to_lab(tint.apply(drawn[core])), axis=-1)
    body = edit.alpha > 0.5
    reach = _radius(crop)
    ends = ~dilated(visible, reach) & ~dilated(unknown, reach)
    return Agreement(
        float(before),
        float((apart > OFF_LAB).mean()),
        float((core & ~body).sum() / max(core.sum(), 1)),
        float((body & ends).sum() / area),
        _pattern(photo, edit.rgb, core, apart <= OFF_LAB),
        _outline_distance(visible, body, ~dilated(unknown, reach)),
    )


def rejection_reason(where: Registration, found: Agreement) -> str:
    """Why an edit cannot be used, "" if it can."""
    if where.spread_px > MAX_SPREAD_PX:
        return "too little of the object is visible to tell where the edit belongs"
    shift = float(np.hypot(where.shift_x_px, where.shift_y_px)) / where.side_px
    if abs(where.zoom - 1) > MAX_SCALE_OFF or shift > MAX_SHIFT_OFF * np.sqrt(2):
        return f"the object moved too far (zoom {where.zoom:.2f}, shift {shift:.0%} of the picture)"
    return found.rejection()


def _pattern(photo: Float32, drawn: Float32, core: Bool, right: Bool) -> float:
    """Correlation of grey values between two blurs; right: which of the core's pixels count."""
    bands = []
    for image in (photo, drawn):
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        fine = _blurred(grey, core)
        band = (fine - _blurred(fine, core, WIDE))[core][right].astype(np.float64)
        bands.append(band - band.mean() if len(band) else band)
    a, b = bands
    if not len(a) or a.std() < PATTERN_LEVELS:
        return 1.0
    return float((a * b).mean() / max(a.std() * b.std(), 1e-6))


def _outline_distance(visible: Bool, body: Bool, free: Bool) -> float:
    """Over the side: the distance to the drawn outline of 80 % of the free visible outline."""
    outline = visible & ~eroded(visible, 1) & free
    drawn = body & ~eroded(body, 1)
    if not outline.any() or not drawn.any():
        return 0.0
    distance = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, 5)
    return float(np.quantile(distance[outline], OUTLINE_QUANTILE)) / len(visible)


def _blurred(image: Float32, inside: Bool, width: float = COARSE) -> Float32:
    """Gaussian blur over inside pixels alone; width over the side."""
    deviation = width * image.shape[0]
    mask = inside.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(mask, (0, 0), deviation), 1e-6)
    weighted = image * (mask if image.ndim == 2 else mask[..., None])
    total = cv2.GaussianBlur(weighted, (0, 0), deviation)
    return np.asarray(total / (share if image.ndim == 2 else share[..., None]), np.float32)


def _core(crop: Uint8) -> Bool:
    """The visible pixels away from the mask's border; all of them where that leaves none."""
    visible = crop[..., 3] > 127
    core = eroded(visible, _radius(crop))
    return core if core.sum() > visible.sum() / 4 else visible


def _radius(crop: Uint8) -> int:
    return max(2, round(ERODED * crop.shape[0]))
