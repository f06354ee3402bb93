"""How does a coarse guess of an outline become part of a crop? It goes on from what is seen.

The guess is wrong by a little where the truth is known: that error, carried a short way into the
hidden part, is taken off the guess, so that the outline meets the visible one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.morphology import dilated, eroded, square
from scene.types import Bool, Float32
from stages.complete.shared.continuation import hidden_part as continuation

# Lengths are shares of the crop's side.
BAND = 0.04  # of the signed distance about an outline
CARRIED = 0.03  # how far an outline's error is carried
MIN_WEIGHT = 0.02  # of what is known, below which an error fades
WEAK, STRONG, SURE = -1.0, 1.0, 3.0  # logits
MUCH, MUCH_BELOW = 0.2, 0.6  # of the area beyond the continued outline
FOOT = 0.9  # of the visible height, from its top: what lies lower is below the object


def hidden_part(guess: Float32, visible: Bool, may_hide: Bool) -> Bool:
    """(N, N): where the object goes on unseen, of the network's logit (S, S) of "the object is
    here"; pieces that do not touch the visible part are dropped."""
    side = len(visible)
    logit = np.asarray(cv2.resize(guess, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    guessed = believed(logit, visible, may_hide)
    level = signed_distance(guessed)
    true, known = visible_distance(visible, may_hide)
    level = level + _carried(true - level, known & about_outline(visible, guessed))
    candidate = (level > 0) & may_hide
    joined = (candidate | visible).astype(np.uint8)
    count, parts = cv2.connectedComponents(joined, connectivity=8)
    touching = np.isin(parts, np.unique(parts[visible])) if count > 1 else visible
    return candidate & touching


def believed(logit: Float32, visible: Bool, may_hide: Bool) -> Bool:
    """(N, N): what to take from a guess, a logit (N, N) of "the object is here".

    Where the visible outline's own continuation says so too, a weak word is enough. A part that
    reaches beyond it is taken whole if the network is sure of much of what lies beyond: where a
    neighbour merely touches the object, it is not. Below the object it must be sure of more, since
    most objects stand and what lies before them is often flat.
    """
    continued = continuation(visible, may_hide)
    part = may_hide & (logit > STRONG)
    count, numbers = cv2.connectedComponents(part.astype(np.uint8), connectivity=8)
    parts = np.asarray(numbers, np.intp)

    def area(pixels: Bool) -> NDArray[np.intp]:
        return np.bincount(parts[pixels], minlength=count)

    beyond = part & ~continued
    rows = np.nonzero(visible.any(1))[0]
    low = np.arange(len(visible))[:, None] > rows.min() + FOOT * np.ptp(rows)
    needed = np.where(area(beyond & low) > area(beyond) / 2, MUCH_BELOW, MUCH) * area(beyond)
    accepted = (area(beyond) > 0) & (area(beyond & (logit > SURE)) >= needed)
    taken = part & accepted[parts]
    if taken.any():  # its outline is compared with the visible one, and moved with it
        taken |= ~may_hide & (logit > STRONG)
    return visible | taken | (may_hide & continued & (logit > WEAK))


def signed_distance(inside: Bool) -> Float32:
    """(N, N) in shares of the side, positive inside, at most BAND."""
    far = [cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (inside, ~inside)]
    return np.clip((far[0] - far[1]) / len(inside), -BAND, BAND).astype(np.float32)


def visible_distance(visible: Bool, may_hide: Bool) -> tuple[Float32, Bool]:
    """(N, N) as `signed_distance`, from where the photo shows that the object ends, and where that
    is known: nearer to such an end than to what may hide the object, which may end there or not."""
    ends = visible & ~eroded(visible, 1, square) & ~dilated(may_hide, 1, square)
    if not ends.any():
        return np.full(visible.shape, BAND, np.float32), np.zeros_like(visible)
    far, covered = (
        cv2.distanceTransform((~m).astype(np.uint8), cv2.DIST_L2, 5) for m in (ends, may_hide)
    )
    near = np.minimum(far / len(visible), BAND)
    return np.where(visible, near, -near).astype(np.float32), ~may_hide & (far < covered)


def about_outline(visible: Bool, guessed: Bool) -> Bool:
    """(N, N): within BAND of the visible outline or of the guess's."""
    near = (np.abs(signed_distance(m)) < BAND for m in (visible, guessed))
    return np.logical_or(*near)


def _carried(error: Float32, known: Bool) -> Float32:
    """An error (N, N) that is known in some pixels, about them; 0 far away."""
    weight = known.astype(np.float32)
    sigma = CARRIED * len(error)
    both = cv2.GaussianBlur(np.stack([error * weight, weight], -1), (0, 0), sigma)
    return np.asarray(both[..., 0] / np.maximum(both[..., 1], MIN_WEIGHT), np.float32)
