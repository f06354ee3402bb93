"""How do two boxes lie? Boxes are x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

from __future__ import annotations

Box = tuple[float, float, float, float]


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    shared = common(a, b)
    return shared / (area(a) + area(b) - shared)


def common(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0.0) * max(high, 0.0)


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def lies_in(inner: Box, outer: Box, fraction: float) -> bool:
    """Whether at least a fraction of one box is in another."""
    return common(inner, outer) >= fraction * area(inner)


def around(a: Box, b: Box) -> Box:
    """The smallest box that holds two."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
