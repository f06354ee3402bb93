"""Small known shapes that the tests share."""

import numpy as np

from scene.types import ObjectMesh


def box_mesh(low: tuple[float, ...], high: tuple[float, ...]) -> ObjectMesh:
    """A closed box with outward faces, in the object frame, with a two-coloured texture."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    vertices = np.array(low) + corners * (np.array(high) - np.array(low))
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    uv = corners[:, :2] * 0.98 + 0.01
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:, :4], texture[:, 4:] = (255, 0, 0), (0, 0, 255)
    return ObjectMesh(
        vertices.astype(np.float32), np.array(faces, np.int32), uv.astype(np.float32), texture
    )


def joined(meshes: list[ObjectMesh]) -> ObjectMesh:
    """Several meshes as one; the first one's texture."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return ObjectMesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([m.uv for m in meshes]),
        meshes[0].texture,
    )


def letter_f() -> ObjectMesh:
    """An F as its viewer reads it: stem on the left, arms to the right, top up (y is down).

    Its stem reaches nearer to the camera than its arms, so every mirror image differs.
    """
    return joined(
        [
            box_mesh((-0.3, -0.45, -0.25), (-0.1, 0.45, 0.1)),
            box_mesh((-0.1, -0.45, -0.05), (0.35, -0.25, 0.1)),
            box_mesh((-0.1, -0.1, -0.05), (0.15, 0.1, 0.1)),
        ]
    )
