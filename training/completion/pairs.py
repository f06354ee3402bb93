"""What does an object look like when others hide part of it? Pairs of both, composed of cut-outs.

Cut-outs are the rendered objects that the lite generator is trained on. One is the object, one or
two lie before it, others behind; sometimes the photo's border cuts it. The crop is framed about
what remains visible, as the pipeline frames it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from scene.cameras import CONTEXT_FRAMING
from scene.morphology import dilated, eroded, square
from scene.types import Bool, Float32, Float64, Uint8
from stages.complete.lite.scaled import SIDE_PX

Generator = np.random.Generator
CUTOUTS = 5  # of a pair: the object, one or two before it, the others behind
CANVAS = 2.25  # times the cut-outs' side: the picture about the object
TWO = 0.3  # of the pairs have two neighbours
FARTHEST, HALVINGS = 2.0, 8  # sides from the middle; 2 sides / 2^8 is half a pixel
MIN_VISIBLE = 0.015  # of the cut-out's area
CUT = 0.2  # of the pairs the photo's border cuts
WRONG_MASK, SHADOW = 0.3, 0.5  # of the masks are off by a pixel; of the occluders cast one


class Case(NamedTuple):
    """How a neighbour lies: the share of neighbours, what it covers of the object; nearer than it,
    or behind it and only taken for nearer; flat and below it, as a plate before it."""

    fraction: float
    hidden: tuple[float, float]
    before: bool = True
    flat: bool = False


CASES = (
    Case(0.5, (0.1, 0.6)),
    Case(0.1, (0.0, 0.1)),
    Case(0.1, (0.0, 0.0)),
    Case(0.15, (0.0, 0.04), flat=True),
    Case(0.15, (0.0, 0.5), before=False),
)


class Pair(NamedTuple):
    """A crop and its truth at S x S pixels: rgb (S, S, 3), what is visible of the object and where
    it may be hidden (S, S), the whole object's alpha (S, S) and colours (S, S, 3). uint8, of 255.
    """

    rgb: Uint8
    visible: Uint8
    hidden: Uint8
    amodal: Uint8
    colours: Uint8


class Scene(NamedTuple):
    """The picture about an object, (C, C[, 3]): its own alpha and colours, what covers it, what
    lies beyond the photo, everything as the photo shows it in [0, 1]."""

    alpha: Float32
    colours: Float32
    covered: Bool
    outside: Bool
    rgb: Float32


def draw_pair(cutouts: Sequence[Uint8], generator: Generator) -> Pair | None:
    """A pair of the first cut-out (T, T, 4) and others; None where nothing of it is visible."""
    scene = _composed([_relit(c, generator) for c in cutouts], generator)
    solid = scene.alpha > 0.5
    visible = solid & ~scene.covered & ~scene.outside
    if visible.sum() < MIN_VISIBLE * cutouts[0].shape[0] ** 2:
        return None
    visible_part, before = visible, scene.covered & ~visible
    if generator.random() < WRONG_MASK:
        off = (dilated, eroded)[int(generator.integers(2))](visible_part, 1, square)
        visible_part = off & ~scene.outside if off.any() else visible_part
    if generator.random() < WRONG_MASK:
        before = (dilated, eroded)[int(generator.integers(2))](before, 1, square)
    before &= ~visible_part
    window = _window(visible)
    masks = (visible_part, before | scene.outside & ~visible_part, scene.alpha)
    visible_part, hidden, amodal = (_cropped(m.astype(np.float32), window) for m in masks)
    rgb, colours = (_cropped(c, window) for c in (scene.rgb, scene.colours))
    noise = generator.normal(0, generator.uniform(0, 0.03), rgb.shape)
    rgb = rgb + noise.astype(np.float32)
    return Pair(*(_bytes(v) for v in (rgb, visible_part, hidden, amodal, colours)))


def _composed(cutouts: list[Float32], generator: Generator) -> Scene:
    """The first one in the middle, the others about it; as much of it hidden as the case says."""
    side = cutouts[0].shape[0]
    size = round(CANVAS * side)
    target = _placed(cutouts[0], _about(np.eye(2), side, np.full(2, size / 2)), size)
    solid = target[..., 3] > 0.5
    rgb = _background(cutouts[-1], size, generator)
    for cutout in cutouts[3:]:
        behind = _placed(cutout, _anywhere(side, generator), size)
        rgb = behind[..., :3] + rgb * (1 - behind[..., 3:])
    cut = generator.random() < CUT  # by the border, and sometimes by others besides
    outside = _beyond(solid, generator) if cut else np.zeros_like(solid)
    count = 2 if generator.random() < TWO else int(not cut or generator.random() < 0.4)
    front, covered = np.zeros_like(target), np.zeros_like(solid)
    for cutout in cutouts[1 : 1 + count]:
        case = CASES[int(generator.choice(len(CASES), p=[c.fraction for c in CASES]))]
        layer = _placed(cutout, _adjacent(cutout, solid, case, generator), size)
        if case.before:
            front = layer + front * (1 - layer[..., 3:])
        else:
            rgb = layer[..., :3] + rgb * (1 - layer[..., 3:])
        covered |= (layer[..., 3] > 0.5) & (case.before | ~solid)
    rgb = target[..., :3] + rgb * (1 - target[..., 3:])
    if generator.random() < SHADOW:
        wide = cv2.GaussianBlur(front[..., 3], (0, 0), generator.uniform(1.5, 6))
        rgb = rgb * (1 - generator.uniform(0, 0.5) * wide[..., None])
    rgb = front[..., :3] + rgb * (1 - front[..., 3:])
    colours = target[..., :3] / np.maximum(target[..., 3:], 1e-3)
    alpha = target[..., 3]
    return Scene(
        alpha, np.asarray(colours, np.float32), covered, outside, np.asarray(rgb, np.float32)
    )


def _relit(cutout: Uint8, generator: Generator) -> Float32:
    """(T, T, 4) in [0, 1], premultiplied: mirrored, channels exchanged, other light."""
    out = cutout[:, ::-1] if generator.random() < 0.5 else cutout
    gamma, gain = generator.uniform(0.6, 1.6), generator.uniform(0.7, 1.3)
    table = np.clip((np.arange(256) / 255) ** gamma * gain, 0, 1).astype(np.float32)
    rgb = table[out[..., :3][..., generator.permutation(3)]]
    grey = rgb.mean(-1, keepdims=True)
    rgb = np.clip(grey + (rgb - grey) * np.float32(generator.uniform(0.3, 1.3)), 0, 1)
    alpha = out[..., 3:].astype(np.float32) / np.float32(255)
    return np.concatenate([rgb * alpha, alpha], -1).astype(np.float32)


def _anywhere(side: int, generator: Generator) -> Float64:
    """(2, 3) from a cut-out's pixels into the picture: near its middle, rather above it (what is
    farther from a camera is higher)."""
    to = (CANVAS / 2 + generator.uniform(-0.75, 0.75, 2) - [0, 0.3]) * side
    return _about(_shape(generator), side, to)


def _adjacent(cutout: Float32, solid: Bool, case: Case, generator: Generator) -> Float64:
    """(2, 3) from a cut-out's pixels into the picture: it covers as much of the object as the case
    says, coming from any direction, or from below."""
    side, size = cutout.shape[0], solid.shape[0]
    shape = _shape(generator)
    angle = generator.uniform(0, 2 * np.pi)
    if case.flat:
        shape = np.diag([generator.uniform(1, 1.8), generator.uniform(0.25, 0.5)]) @ shape
        angle = np.pi / 2 + generator.normal(0, 0.4)
    direction = side * np.array([np.cos(angle), np.sin(angle)])
    start = size / 2 + generator.normal(0, 0.2, 2) * side
    hidden = generator.uniform(*case.hidden) * solid.sum()
    near, far = 0.0, FARTHEST
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        placed = _about(shape, side, start + middle * direction)
        over = (_placed(cutout[..., 3], placed, size)[solid] > 0.5).sum() > hidden
        near, far = (middle, far) if over else (near, middle)
    return _about(shape, side, start + far * direction)


def _shape(generator: Generator) -> Float64:
    """(2, 2): any size, a little wider or higher, turned a little."""
    angle, aspect = generator.normal(0, 0.15), np.exp(generator.normal(0, 0.15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.exp(generator.normal(0, 0.3)) * turn @ np.diag([aspect, 1 / aspect])


def _about(shape: Float64, side: int, to: Float64) -> Float64:
    """(2, 3): a cut-out's middle comes to a place."""
    return np.concatenate([shape, (to - shape @ np.full(2, side / 2))[:, None]], 1)


def _placed(cutout: Float32, placed: Float64, size: int) -> Float32:
    return np.asarray(cv2.warpAffine(cutout, placed, (size, size)), np.float32)


def _beyond(solid: Bool, generator: Generator) -> Bool:
    """(C, C) what a border of the photo cuts off: a side of the object."""
    rows, columns = np.nonzero(solid)
    out = np.zeros_like(solid)
    turned = np.rot90(out, int(generator.integers(4)))  # a view: one of four sides
    along = (rows, columns)[int(generator.integers(2))]
    low, high = along.min(), along.max()
    at = int(low + generator.uniform(-0.15, 0.6) * (high - low))
    turned[: max(at, 0)] = True
    return out


def _background(texture: Float32, size: int, generator: Generator) -> Float32:
    """(C, C, 3): a wall and a table, each of two colours that run into each other; with a print."""
    out = np.zeros((size, size, 3), np.float32)
    horizon = int(generator.uniform(0, 0.8) * size)
    for rows in (slice(0, horizon), slice(horizon, size)):
        corners = generator.uniform(0, 1, 3) + generator.normal(0, 0.1, (2, 2, 3))
        out[rows] = cv2.resize(corners.astype(np.float32), (size, size))[rows]
    if generator.random() < 0.5:
        print_ = cv2.resize(texture[16:-16, 16:-16, :3], (size, size))
        out += np.float32(generator.uniform(0.1, 0.6)) * (print_ - print_.mean((0, 1)))
    cells = int(generator.integers(4, 40))
    noise = generator.normal(0, generator.uniform(0, 0.12), (cells, cells, 1))
    out += cv2.resize(noise.astype(np.float32), (size, size))[..., None]
    return np.clip(out, 0, 1)


def _window(visible: Bool) -> Float64:
    """(2, 3) from the picture into the crop about what is visible."""
    rows, columns = np.nonzero(visible)
    centre = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2 + 0.5
    extent = max(np.ptp(columns), np.ptp(rows)) + 1
    scale = SIDE_PX / (CONTEXT_FRAMING * extent)
    shift = SIDE_PX / 2 - scale * centre
    # OpenCV has pixel centres at integers.
    shift = shift + 0.5 * scale - 0.5
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _cropped(values: Float32, window: Float64) -> Float32:
    size = (SIDE_PX, SIDE_PX)
    border = cv2.BORDER_REPLICATE if values.ndim == 3 else cv2.BORDER_CONSTANT
    cut = cv2.warpAffine(values, window, size, flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(cut, np.float32)


def _bytes(values: Float32) -> Uint8:
    return np.rint(values * 255).clip(0, 255).astype(np.uint8)
