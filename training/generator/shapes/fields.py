"""How far is a point from a procedural object? Signed distances of parts, compiled by numba.

Sizes per kind (half lengths): box (x, y, z, rounding); cylinder (radius, height, -, rounding); cone
(radius below, radius above, height); torus about y (ring, tube, half length along y); capsule along
y (radius, half length); superquadric (x, y, z, exponent); lathe (-, -, height); roof (x, y, z), a
triangular prism along z with its base below. Formulae as is usual for such primitives; the
superquadric's is its implicit function over its gradient.
"""

from __future__ import annotations

import math

from numba import njit

from training.generator.shapes.parts import PROFILE_KNOTS, Solid

FAR = 1e3
compiled = njit(cache=True, fastmath=True, error_model="numpy")


@compiled
def _corner(a: float, b: float, c: float) -> float:
    """Distance to the corner region of three slabs whose distances are a, b and c."""
    inside = min(max(a, max(b, c)), 0.0)
    a, b, c = max(a, 0.0), max(b, 0.0), max(c, 0.0)
    return math.sqrt(a * a + b * b + c * c) + inside


@compiled
def _revolved(rho: float, y: float, radius: float, slope: float, height: float) -> float:
    """A body of revolution whose radius is linear here."""
    slope = min(max(slope, -3.0), 3.0)
    return _corner((rho - radius) / math.sqrt(1 + slope * slope), abs(y) - height, -FAR)


@compiled
def _superquadric(x, y, z, a, b, c, n):
    x, y, z = abs(x) / a + 1e-6, abs(y) / b + 1e-6, abs(z) / c + 1e-6
    if n == 2.0:
        level = math.sqrt(x * x + y * y + z * z)
        gx, gy, gz = x / a / level, y / b / level, z / c / level
    else:
        px, py, pz = x ** (n - 1), y ** (n - 1), z ** (n - 1)
        level = (px * x + py * y + pz * z) ** (1 / n)
        k = level ** (1 - n)
        gx, gy, gz = px / a * k, py / b * k, pz / c * k
    return (level - 1) / max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-3)


@compiled
def _part_distance(kind, x, y, z, size, profile):
    if kind == 0:  # box
        r = size[3]
        return _corner(abs(x) - size[0] + r, abs(y) - size[1] + r, abs(z) - size[2] + r) - r
    if kind == 1:  # cylinder
        r = size[3]
        rho = math.sqrt(x * x + z * z)
        return _corner(rho - size[0] + r, abs(y) - size[1] + r, -FAR) - r
    if kind == 2:  # cone
        up = (min(max(y / size[2], -1.0), 1.0) + 1) * 0.5
        grow = size[1] - size[0]
        rho = math.sqrt(x * x + z * z)
        return _revolved(rho, y, size[0] + grow * up, grow / (2 * size[2]), size[2])
    if kind == 3:  # torus
        ring = math.sqrt(x * x + z * z) - size[0]
        along = max(abs(y) - size[2], 0.0)
        return math.sqrt(ring * ring + along * along) - size[1]
    if kind == 4:  # capsule
        along = y - min(max(y, -size[1]), size[1])
        return math.sqrt(x * x + along * along + z * z) - size[0]
    if kind == 5:
        return _superquadric(x, y, z, size[0], size[1], size[2], size[3])
    if kind == 6:  # lathe
        up = (min(max(y / size[2], -1.0), 1.0) + 1) * 0.5 * (PROFILE_KNOTS - 1)
        i = min(int(up), PROFILE_KNOTS - 2)
        grow = profile[i + 1] - profile[i]
        radius = profile[i] + grow * (up - i)
        slope = grow * (PROFILE_KNOTS - 1) / (2 * size[2])
        return _revolved(math.sqrt(x * x + z * z), y, radius, slope, size[2])
    k = 1 / math.sqrt(size[0] * size[0] + 4 * size[1] * size[1])  # roof
    slant = (abs(x) * 2 * size[1] + (y - size[1]) * size[0]) * k
    return max(max(slant, -y - size[1]), abs(z) - size[2])


@compiled
def signed_distance(x: float, y: float, z: float, solid: Solid) -> tuple[float, int]:
    """Distance of an object-frame point (negative inside) and the index of the part it is nearest
    to.

    Parts are applied in their order; those whose bounding sphere cannot matter are passed over.
    """
    distance, nearest, least = FAR, 0, FAR
    for i in range(solid.kind.shape[0]):
        a, b, c = x - solid.centre[i, 0], y - solid.centre[i, 1], z - solid.centre[i, 2]
        square, cut = a * a + b * b + c * c, solid.operation[i] == 1
        if cut:
            if solid.reach[i] - math.sqrt(square) < distance:
                continue
        else:
            limit = max(distance, 0.0) + solid.blend[i] + solid.reach[i]
            if square > limit * limit:
                continue
        r = solid.part_from_object[i]
        u = r[0, 0] * a + r[0, 1] * b + r[0, 2] * c
        v = r[1, 0] * a + r[1, 1] * b + r[1, 2] * c
        w = r[2, 0] * a + r[2, 1] * b + r[2, 2] * c
        here = _part_distance(solid.kind[i], u, v, w, solid.size[i], solid.profile[i])
        if cut:
            if -here > distance:
                distance, nearest = -here, i
            continue
        if here < least:
            least, nearest = here, i
        k = solid.blend[i]
        if k > 0 and distance < 1e2:
            h = max(k - abs(distance - here), 0.0) / k
            distance = min(distance, here) - h * h * k * 0.25
        else:
            distance = min(distance, here)
    return distance, nearest
