"""Several painted surfaces as one mesh with one texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Float64, Uint8

WRAPS = ("repeat", "mirror", "clamp")  # how a texture goes on beyond its sides
EDGE = 1e-4  # by which a coordinate may lie beyond a side by rounding alone
BORDER_PX = 4  # around each tile, so that filtering reads no neighbour
FLAT_PX = 4  # side of a tile of one colour
MAX_ATLAS_PX = 8192
MAX_REPEATS = 8  # of a texture along one side; what goes on for longer is cut


@dataclass(frozen=True, eq=False)
class Part:
    """A surface: vertices (N, 3), faces (M, 3), and what paints it.

    uv (N, 2), origin at the picture's top-left corner, with picture (H, W, 3) sRGB and its wraps in
    u and v; else colours (N, 3), linear, or none; all of it times factor (3,), linear.
    """

    vertices: Float64
    faces: NDArray[np.int32]
    uv: Float64 | None
    image: Uint8 | None
    factor: Float64
    wraps: tuple[str, str]
    colours: Float64 | None = None


def join_parts(
    parts: Sequence[Part],
) -> tuple[Float64, NDArray[np.int32], Float32, Uint8]:
    """Vertices, faces, uv and texture of all parts together.

    Parts of one picture that lies within its sides keep it and their uv, to the bit.
    """
    flat = [_with_tile(part if len(parts) == 1 else _compact(part)) for part in parts]
    offsets = np.cumsum([0, *(len(p.vertices) for p in flat)])
    vertices = np.concatenate([p.vertices for p in flat])
    faces = np.concatenate([p.faces + o for p, o in zip(flat, offsets, strict=False)])
    tiles, which = _distinct([_image_of(p) for p in flat])
    uvs = [_uv_of(p) for p in flat]
    if len(tiles) == 1:
        return vertices, faces.astype(np.int32), np.concatenate(uvs).astype(np.float32), tiles[0]
    texture, corners, scale = _pack(tiles)
    size = np.array([texture.shape[1], texture.shape[0]], np.float64)
    placed = [
        (uv * scale * [tiles[i].shape[1], tiles[i].shape[0]] + corners[i]) / size
        for uv, i in zip(uvs, which, strict=True)
    ]
    return vertices, faces.astype(np.int32), np.concatenate(placed).astype(np.float32), texture


def _compact(part: Part) -> Part:
    """The part without vertices that none of its faces has: parts often share one list."""
    used, faces = np.unique(part.faces, return_inverse=True)

    def kept(values: Float64 | None) -> Float64 | None:
        return None if values is None else values[used]

    return replace(
        part,
        vertices=part.vertices[used],
        faces=faces.reshape(-1, 3).astype(np.int32),
        uv=kept(part.uv),
        colours=kept(part.colours),
    )


def _with_tile(part: Part) -> Part:
    """The part with a picture of its own in which all its uv lie."""
    if part.image is None or part.uv is None:
        return _flat_tile(part)
    image = part.image
    if not np.allclose(part.factor, 1):
        image = _srgb(_linear(image) * part.factor)
    part = replace(part, image=image)
    for axis in (0, 1):
        part = _within(part, axis)
    return part


def _flat_tile(part: Part) -> Part:
    """Colours without a picture: one texel per face, or per part."""
    if part.colours is None:
        image = np.broadcast_to(_srgb(part.factor[None, None]), (FLAT_PX, FLAT_PX, 3)).copy()
        middle = np.full((len(part.vertices), 2), 0.5)
        return replace(part, image=image, uv=middle)
    corners = part.colours[part.faces]
    shown = _srgb((corners.mean(1) * part.factor).clip(0, 1)[None])[0]
    side = int(np.ceil(np.sqrt(len(shown))))
    texels = np.zeros((side * side, 3), np.uint8)
    texels[: len(shown)] = shown
    number = np.arange(len(shown))
    middle = (np.stack([number % side, number // side], 1) + 0.5) / side
    image = texels.reshape(side, side, 3).repeat(FLAT_PX, 0).repeat(FLAT_PX, 1)
    return replace(
        part,
        vertices=part.vertices[part.faces.reshape(-1)],
        faces=np.arange(3 * len(shown), dtype=np.int32).reshape(-1, 3),
        uv=middle.repeat(3, 0),
        image=image,
    )


def _within(part: Part, axis: int) -> Part:
    """Coordinates u (axis 0) or v (axis 1) within the picture, which is repeated where it must."""
    uv, image = _uv_of(part), _image_of(part)
    if uv[:, axis].min() >= -EDGE and uv[:, axis].max() <= 1 + EDGE:
        return part
    if part.wraps[axis] == "clamp":
        clamped = uv.copy()
        clamped[:, axis] = uv[:, axis].clip(0, 1)
        return replace(part, uv=clamped)
    period = 1
    if part.wraps[axis] == "mirror":
        image = np.concatenate([image, np.flip(image, 1 - axis)], 1 - axis)
        period = 2
    corner = uv[part.faces, axis] / period  # (M, 3)
    shift = np.floor(corner.min(1) + EDGE)
    repeats = int(np.clip(np.ceil((corner.max(1) - shift).max() - EDGE), 1, MAX_REPEATS))
    old, new_faces = _split(part.faces, shift)
    new_shift = np.zeros(len(old))
    new_shift[new_faces] = shift[:, None]
    new_uv = uv[old].copy()
    new_uv[:, axis] = ((new_uv[:, axis] / period - new_shift) / repeats).clip(0, 1)
    return replace(
        part,
        vertices=part.vertices[old],
        faces=new_faces,
        uv=new_uv,
        image=np.concatenate([image] * repeats, 1 - axis),
    )


def _split(faces: NDArray[np.int32], shift: Float64) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """A vertex for each pair of old vertex and its face's shift: old numbers, and new faces."""
    pairs = np.stack([faces.reshape(-1), shift.repeat(3)], 1)
    found, new = np.unique(pairs, axis=0, return_inverse=True)
    return found[:, 0].astype(np.int64), new.reshape(-1, 3).astype(np.int32)


def _distinct(images: Sequence[Uint8]) -> tuple[list[Uint8], list[int]]:
    """Each picture once, and which of them every part has."""
    tiles: list[Uint8] = []
    numbers: dict[tuple[tuple[int, ...], bytes], int] = {}
    which = []
    for image in images:
        number = numbers.setdefault((image.shape, image.tobytes()), len(tiles))
        if number == len(tiles):
            tiles.append(image)
        which.append(number)
    return tiles, which


def _pack(tiles: Sequence[Uint8]) -> tuple[Uint8, list[Float64], float]:
    """One texture of all tiles, the corner (x, y px) of each, and the scale at which they lie."""
    scale = 1.0
    while True:
        small = [_resized(tile, scale) for tile in tiles]
        order = sorted(range(len(small)), key=lambda i: (-small[i].shape[0], i))
        area = sum((t.shape[0] + 2 * BORDER_PX) * (t.shape[1] + 2 * BORDER_PX) for t in small)
        widest = max(t.shape[1] for t in small) + 2 * BORDER_PX
        width = max(widest, int(np.ceil(np.sqrt(area))))
        corners: list[Float64] = [np.zeros(2) for _ in small]
        x, y, row = 0, 0, 0
        for i in order:
            height, across = (side + 2 * BORDER_PX for side in small[i].shape[:2])
            if x + across > width:
                x, y, row = 0, y + row, 0
            corners[i] = np.array([x, y], np.float64) + BORDER_PX
            x, row = x + across, max(row, height)
        if max(width, y + row) <= MAX_ATLAS_PX:
            break
        scale /= 2
    texture = np.zeros((y + row, width, 3), np.uint8)
    for tile, corner in zip(small, corners, strict=True):
        left, top = (corner - BORDER_PX).astype(int)
        border = ((BORDER_PX, BORDER_PX), (BORDER_PX, BORDER_PX), (0, 0))
        framed = np.pad(tile, border, "edge")
        texture[top : top + framed.shape[0], left : left + framed.shape[1]] = framed
    return texture, corners, scale


def _resized(tile: Uint8, scale: float) -> Uint8:
    if scale == 1:
        return tile
    size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
    return np.asarray(cv2.resize(tile, size, interpolation=cv2.INTER_AREA), np.uint8)


def _uv_of(part: Part) -> Float64:
    assert part.uv is not None
    return part.uv


def _image_of(part: Part) -> Uint8:
    assert part.image is not None
    return part.image


def _linear(pixels: Uint8) -> Float64:
    """sRGB bytes as linear light in [0, 1]."""
    values = pixels / 255.0
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _srgb(linear: Float64) -> Uint8:
    """The inverse of `_linear`."""
    values = linear.clip(0, 1)
    curved = 1.055 * values ** (1 / 2.4) - 0.055
    return np.rint(np.where(values <= 0.0031308, values * 12.92, curved) * 255).astype(np.uint8)
