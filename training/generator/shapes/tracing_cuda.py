"""`tracing.trace` for many objects at once on a GPU: the same compiled functions, a thread per
pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda

from training.generator.shapes.parts import Paint, Solid
from training.generator.shapes.tracing import Light, Scene, TracedImage, View, trace_pixel

THREADS = 128  # of a block
_kernel: Any = cuda.jit(fastmath=True)


@_kernel
def _trace_all(size, first_part, solids, paints, views, lights, rgb, layers, back, inner):
    """A thread's pixel of its object; solids and paints hold all objects' parts in a row."""
    thread = cuda.grid(1)  # type: ignore[call-arg]
    which, pixel = thread // (size * size), thread % (size * size)
    if which >= rgb.shape[0]:
        return
    a, b = first_part[which], first_part[which + 1]
    solid = Solid(
        solids.kind[a:b], solids.operation[a:b], solids.size[a:b], solids.reach[a:b],
        solids.part_from_object[a:b], solids.centre[a:b], solids.profile[a:b], solids.blend[a:b],
    )  # fmt: skip
    paint = Paint(
        paints.colour[a:b], paints.other[a:b], paints.pattern[a:b], paints.frequency[a:b],
        paints.axis[a:b],
    )  # fmt: skip
    view = View(
        views.rotation[which], views.centre[which], views.scale[which], views.distance[which]
    )
    light = Light(
        lights.direction[which], lights.sky[which], lights.ground[which], lights.diffuse[which],
        lights.specular[which], lights.shadows[which], lights.gamma[which],
    )  # fmt: skip
    trace_pixel(
        pixel // size, pixel % size, size, solid, paint, view, light,
        rgb[which], layers[which], back[which], inner[which],
    )  # fmt: skip


def trace_all(size: int, scenes: Sequence[Scene]) -> list[TracedImage]:
    """What `tracing.trace` returns for each; last digits may differ."""
    shape = (len(scenes), size, size)
    solids, paints, views, lights = zip(*scenes, strict=True)
    counts = [len(solid.kind) for solid in solids]
    first_part = np.cumsum([0, *counts])
    rgb, back, inner = (cuda.to_device(np.zeros((*shape, 3), np.uint8)) for _ in range(3))
    layers = cuda.to_device(np.full((*shape, 4), np.nan, np.float32))
    blocks = -(-int(np.prod(shape)) // THREADS)
    _trace_all[blocks, THREADS](
        size, cuda.to_device(first_part), _joined(solids, np.concatenate),
        _joined(paints, np.concatenate), _joined(views, np.stack), _joined(lights, np.stack),
        rgb, layers, back, inner,
    )  # fmt: skip
    arrays: Any = (rgb, layers, back, inner)
    return list(zip(*(a.copy_to_host() for a in arrays), strict=True))


def _joined(parts: Sequence[Any], join: Any) -> Any:
    """Named tuples of arrays or numbers as one of device arrays."""
    columns = (join([np.asarray(v) for v in column]) for column in zip(*parts, strict=True))
    return type(parts[0])(*(cuda.to_device(c) for c in columns))
