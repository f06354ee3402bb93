"""A mesh in its generator's canonical frame, brought into the object frame of its crop.

Canonical frames have z up and the object's front towards -y, in the cube [-0.5, 0.5]^3, as
TRELLIS, CUPID and Direct3D-S2 have them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignment.visible import generator_distance
from scene.errors import CannotGenerate
from scene.types import CanonicalPose, CropCamera, Float64, ObjectMesh, Similarity
from stages.generate.shared.moved import reprojected, transformed

# x right, y down, z away of a camera that looks at the front: X = x, Y = -z, Z = y.
FRONT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
SAME_FOCAL = 1e-6  # relative difference of focal lengths that moves no pixel


def posed_by_camera(
    mesh: ObjectMesh,
    rotation: Float64,
    translation: Float64,
    focal: float,
    confidence: float,
    crop: CropCamera,
) -> ObjectMesh:
    """The canonical mesh as its estimated camera has it: pixel-aligned in its object crop.

    rotation (3, 3), translation (3,): camera_from_canonical, X = R x + t, with the principal point
    in the crop's centre; focal: in sides of the crop. Where that is not the crop's own focal
    length, the mesh is re-projected (docs/placement.md, equation 5), and its canonical pose holds
    at the cube's centre plane. Raises CannotGenerate for a mesh that reaches behind the camera.
    """
    scale = focal / float(translation[2])  # puts the cube's centre where border rays meet it
    offset = scale * translation - [0, 0, focal]
    pose = Similarity(scale, rotation, offset)
    if not (pose.apply(mesh.vertices)[:, 2] + focal > 0).all():
        raise CannotGenerate("the estimated pose puts a part of the object behind the camera")
    moved = transformed(mesh, pose)
    if abs(focal / generator_distance(crop) - 1) > SAME_FOCAL:
        focal_px = focal * crop.camera.width
        believed = replace(crop.camera, fx_px=focal_px, fy_px=focal_px)
        moved = reprojected(moved, replace(crop, camera=believed), crop)
    return replace(moved, canonical=CanonicalPose(pose, True, confidence))


def facing_camera(mesh: ObjectMesh, object_from_canonical: Float64 = FRONT) -> ObjectMesh:
    """The canonical mesh with its front to the camera, where nothing is known of its pose.

    object_from_canonical (3, 3): a rotation. The stage place finds its pose by its shape.
    """
    pose = Similarity(1.0, object_from_canonical, np.zeros(3))
    return replace(transformed(mesh, pose), canonical=CanonicalPose(pose, False, 0.0))
