"""Reads annotation files: the objects of one photo from COCO, labelme or CVAT, with their names."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from scene.errors import BadInput
from scene.images import MAX_MEGAPIXELS
from scene.mask_files import read_drawn
from scene.masks import NamedObjects
from scene.shapes import coco_runs, ellipse, polygon, rectangle, runs
from scene.types import Bool

KNOWN = "COCO (JSON), labelme (JSON) or CVAT for images (XML)"
MAX_SHAPES = 10_000
SHOWN_NAMES = 3
MAX_COORDINATE_PX = 1e6
WRONG_SHAPE = (KeyError, TypeError, IndexError, AttributeError, OverflowError)
# What each program calls shapes without an area.
NO_AREA = ("point", "points", "line", "linestrip", "polyline", "tag", "skeleton", "cuboid")


@dataclass(frozen=True)
class _Shape:
    """Something drawn; shapes of one group and label are one object; draw is None where it has no
    area, and kind says what it is."""

    label: str
    kind: str
    draw: Callable[[], Bool] | None
    group: object = None


def decode_annotations(data: bytes, photo_name: str) -> NamedObjects:
    """The objects that an annotation file gives for a photo of this name, in its order.

    Where the file is for several photos, the name chooses. Raises BadInput for other files, for a
    photo that it does not know, and for shapes that cannot be drawn.
    """
    try:
        shapes = list(_shapes(data, photo_name))
    except WRONG_SHAPE as error:
        why = " ".join(str(error).split())[:100]
        raise BadInput(
            f"is not a whole annotation file ({type(error).__name__}: {why}): export it again"
        ) from None
    if len(shapes) > MAX_SHAPES:
        raise BadInput(f"has {len(shapes)} shapes for the photo, at most {MAX_SHAPES} are read")
    drawn = [(i, shape) for i, shape in enumerate(shapes) if shape.draw is not None]
    flat = [
        f"{i + 1} ({shape.label}: {shape.kind})" for i, shape in enumerate(shapes) if not shape.draw
    ]
    shown = ", ".join(flat[:SHOWN_NAMES]) + (", ..." if len(flat) > SHOWN_NAMES else "")
    if not drawn:
        found = f"only shapes without an area, {shown}," if flat else "no shape"
        raise BadInput(f"has {found} for the photo: draw outlines, or give boxes with --box")
    notes = [f"shapes without an area left out: {len(flat)}, {shown}"] if flat else []
    crowds = [f"{i + 1} ({shape.label})" for i, shape in drawn if shape.kind == "crowd"]
    notes += [f"marked as crowds, each taken as one object: {', '.join(crowds)}"] if crowds else []
    groups: dict[object, list[tuple[int, _Shape]]] = {}
    for index, shape in drawn:
        key = index if shape.group is None else (shape.group, shape.label)
        groups.setdefault(key, []).append((index, shape))
    objects = ((members[0][1].label, _pixels(members)) for members in groups.values())
    return NamedObjects(objects, tuple(notes))


def _pixels(members: Sequence[tuple[int, _Shape]]) -> Bool:
    """All that the shapes of one object cover."""
    drawn = []
    for index, shape in members:
        name = f"shape {index + 1} ({shape.label}: {shape.kind})"
        assert shape.draw is not None
        try:
            drawn.append(shape.draw())
        except BadInput as error:
            raise BadInput(f"{name} {error}") from None
        except (*WRONG_SHAPE, ValueError):
            raise BadInput(f"{name} is not as {KNOWN} have it: export it again") from None
    return np.any(drawn, axis=0)


def _shapes(data: bytes, photo_name: str) -> Iterator[_Shape]:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return _from_cvat(data, photo_name)
    try:
        value = json.loads(data)
    except RecursionError:
        raise BadInput("is nested too deeply: export it again") from None
    except ValueError as error:
        raise BadInput(f"is neither JSON nor XML ({error}): expected {KNOWN}") from None
    if isinstance(value, dict) and isinstance(value.get("shapes"), list):
        return _from_labelme(value)
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return _from_coco(value, photo_name)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if "segmentation" in value[0]:  # what SAM's mask generator and COCO's scorers write
            return _from_coco({"annotations": value}, photo_name)
    raise BadInput(f"is no annotation file that is known: export it as {KNOWN}")


def _chosen(named: Mapping[str, Any], photo_name: str) -> Any:
    """The entry of the photo: the only one, or by its file's name, with or without the suffix."""
    if len(named) == 1:
        return next(iter(named.values()))
    for form in (_file_name, _stem):
        found = [value for name, value in named.items() if form(name) == form(photo_name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadInput(f"has {len(found)} images called {photo_name}: leave one")
    shown = ", ".join(list(named)[:SHOWN_NAMES]) + (", ..." if len(named) > SHOWN_NAMES else "")
    raise BadInput(f"has {len(named)} images ({shown}) and none is called {photo_name}")


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name


def _stem(path: str) -> str:
    return PurePosixPath(_file_name(path)).stem


def _from_coco(value: Mapping[str, Any], photo_name: str) -> Iterator[_Shape]:
    """COCO: outlines, run lengths as numbers or as a string; crowds are no objects."""
    images = value.get("images") or [value.get("image") or {}]
    by_name = {str(i.get("file_name", n)): i for n, i in enumerate(images)}
    if len(by_name) < len(images):
        raise BadInput("has two images of one name: leave one")
    image = _chosen(by_name, photo_name)
    names = {c["id"]: c.get("name") for c in value.get("categories") or []}
    own = [a for a in value["annotations"] if "id" not in image or a.get("image_id") == image["id"]]
    if not value.get("images"):
        own = value["annotations"]
        if len({a.get("image_id") for a in own}) > 1:
            raise BadInput("has annotations of several images and no list of the images")
    for a in own:
        category = a.get("category_id")
        label = _words(names.get(category) or ("object" if category is None else category))
        segmentation = a.get("segmentation")
        if segmentation:
            kind = "crowd" if a.get("iscrowd") else "outline"
            yield _Shape(label, kind, lambda s=segmentation: _coco_pixels(s, image))
        else:
            yield _Shape(label, "box", None)


def _coco_pixels(segmentation: Any, image: Mapping[str, Any]) -> Bool:
    if isinstance(segmentation, dict):
        height, width = (int(v) for v in segmentation["size"])
        counts = segmentation["counts"]
        lengths = coco_runs(counts) if isinstance(counts, str) else counts
        return np.ascontiguousarray(runs(lengths, height, width).T)  # COCO runs down the columns
    width, height = _size(image.get("width"), image.get("height"))
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    corners = [_corners(np.reshape(part, (-1, 2))) for part in parts]
    return np.any([polygon(part, width, height) for part in corners], axis=0)


def _from_labelme(value: Mapping[str, Any]) -> Iterator[_Shape]:
    """labelme: polygons, rectangles, circles and masks; those of one group and label are one."""
    width, height = _size(value.get("imageWidth"), value.get("imageHeight"))
    for shape in value["shapes"]:
        kind = shape.get("shape_type") or "polygon"
        label = _words(shape["label"])
        draw = None if kind in NO_AREA else _labelme_drawing(shape, kind, width, height)
        yield _Shape(label, kind, draw, shape.get("group_id"))


def _labelme_drawing(
    shape: Mapping[str, Any], kind: str, width: int, height: int
) -> Callable[[], Bool]:
    def draw() -> Bool:
        points = _corners(shape["points"])
        if kind == "mask":
            return _labelme_mask(shape["mask"], points, width, height)
        if kind == "circle":
            radius = float(np.hypot(*(points[1] - points[0])))
            points = ellipse(points[0, 0], points[0, 1], radius, radius)
        elif kind == "rectangle" and len(points) == 2:
            (x0, y0), (x1, y1) = points.tolist()
            points = rectangle(x0, y0, x1, y1)
        elif kind not in ("polygon", "rectangle", "oriented_rectangle"):
            raise BadInput("is of a kind that is not known: draw it as a polygon")
        return polygon(points, width, height)

    return draw


def _labelme_mask(encoded: str, points: np.ndarray, width: int, height: int) -> Bool:
    """A picture in base64 where its first point says."""
    try:
        part = read_drawn(base64.b64decode(encoded)).pixels.astype(bool)
    except binascii.Error:
        raise BadInput("has a damaged mask") from None
    left, top = (int(v) for v in points[0])
    return _placed(part, left, top, width, height)


def _placed(part: Bool, left: int, top: int, width: int, height: int) -> Bool:
    """A part (h, w) where it lies in the picture (height, width); what reaches over is cut."""
    canvas = Image.new("1", (width, height))
    canvas.paste(Image.fromarray(part), (left, top))
    return np.asarray(canvas)


def _from_cvat(data: bytes, photo_name: str) -> Iterator[_Shape]:
    """CVAT for images: polygons, masks, boxes and ellipses; those of one group are one object."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise BadInput(f"is damaged XML ({error}): export it again") from None
    images = {str(i.get("name")): i for i in root.iter("image")}
    if not images:
        raise BadInput(f"has no images: export it as {KNOWN}")
    image = _chosen(images, photo_name)
    width, height = _size(image.get("width"), image.get("height"))
    for element in image:
        label = _words(element.get("label"))
        draw = None
        if element.tag not in NO_AREA:
            draw = lambda e=element: _cvat_pixels(e, width, height)  # noqa: E731
        group = element.get("group_id")
        yield _Shape(label, element.tag, draw, None if group in (None, "0") else group)


def _cvat_pixels(element: ElementTree.Element, width: int, height: int) -> Bool:
    def numbers(*names: str) -> list[float]:
        return [float(element.attrib[name]) for name in names]

    rotation_rad = np.radians(float(element.get("rotation", 0)))
    if element.tag == "mask":
        left, top, w, h = (int(v) for v in numbers("left", "top", "width", "height"))
        lengths = [int(v) for v in element.attrib["rle"].split(",")]
        return _placed(runs(lengths, w, h), left, top, width, height)
    if element.tag == "polygon":
        pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
        corners = _corners(pairs)
    elif element.tag == "box":
        x0, y0, x1, y1 = numbers("xtl", "ytl", "xbr", "ybr")
        corners = _rotated(rectangle(x0, y0, x1, y1), rotation_rad)
    elif element.tag == "ellipse":
        x, y, radius_x, radius_y = numbers("cx", "cy", "rx", "ry")
        corners = ellipse(x, y, radius_x, radius_y, rotation_rad)
    else:
        raise BadInput("is of a kind that is not known: draw it as a polygon")
    return polygon(_corners(corners), width, height)


def _rotated(corners: np.ndarray, rotation_rad: float) -> np.ndarray:
    """Turned about the corners' middle."""
    c, s = np.cos(rotation_rad), np.sin(rotation_rad)
    middle = corners.mean(0)
    return (corners - middle) @ np.array([[c, s], [-s, c]]) + middle


def _corners(values: Any) -> np.ndarray:
    """(N, 2) finite pixels; BadInput for anything else."""
    corners = np.asarray(values, float)
    if corners.ndim != 2 or corners.shape[1] != 2 or not (abs(corners) <= MAX_COORDINATE_PX).all():
        raise BadInput("has corners that are no pixels")
    return corners


def _size(width: Any, height: Any) -> tuple[int, int]:
    """The size that a file says its picture has."""
    try:
        size = int(width), int(height)
    except (TypeError, ValueError):
        raise BadInput("does not say the picture's width and height: export it again") from None
    if min(size) < 1 or size[0] * size[1] > MAX_MEGAPIXELS * 1e6:
        raise BadInput(f"is for a picture of {size[0]} x {size[1]} pixels: check it")
    return size


def _words(value: Any) -> str:
    return str(value if value is not None else "object")
