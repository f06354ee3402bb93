"""Does an exported scene stand by itself? Two seconds of it in MuJoCo."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from photoscene.export.formats.mjcf import TIMESTEP_S, body_name, mjcf_text
from photoscene.export.model import ExportScene
from photoscene.physics.colliders import box_diagonal
from scene.types import Float64

SECONDS = 2.0
SAMPLES = 2000  # vertices whose way is measured, of each object


@dataclass(frozen=True)
class Standing:
    """What an object did in two seconds: how far the vertex went that went farthest, over the
    object's size (the diagonal of its box), by how much its centre sank likewise, and how far it
    turned. Infinite where the simulation came apart."""

    moved: float
    sank: float
    turned_rad: float


def simulate_standing(scene: ExportScene) -> list[Standing]:
    """Let a scene stand on the floor z = 0; one result per object, in their order.

    scene: in metres, z up, with a body for every object. Needs mujoco.
    """
    mujoco: Any = importlib.import_module("mujoco")  # it may be missing where types are checked
    # Without this MuJoCo writes its warnings into a file in the user's folder.
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        model = mujoco.MjModel.from_xml_string(mjcf_text(scene, True, {}))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        bodies = [model.body(body_name(o)).id for o in scene.objects]
        start = [_pose(data, body) for body in bodies]
        for _ in range(round(SECONDS / TIMESTEP_S)):
            mujoco.mj_step(model, data)
        end = [_pose(data, body) for body in bodies]
    finally:
        mujoco.set_mju_user_warning(None)
    return [
        _compared(o.mesh.vertices.astype(np.float64), before, after)
        for o, before, after in zip(scene.objects, start, end, strict=True)
    ]


def _pose(data: Any, body: int) -> tuple[Float64, Float64]:
    rotation = np.array(data.xmat[body], np.float64).reshape(3, 3)
    return rotation, np.array(data.xpos[body], np.float64)


def _compared(
    vertices: Float64, before: tuple[Float64, Float64], after: tuple[Float64, Float64]
) -> Standing:
    if not all(np.isfinite(part).all() for part in after):
        return Standing(math.inf, math.inf, math.inf)
    size = box_diagonal(vertices)
    chosen = vertices[np.linspace(0, len(vertices) - 1, min(len(vertices), SAMPLES)).astype(int)]
    one, other = (chosen @ rotation.T + position for rotation, position in (before, after))
    rotated = before[0].T @ after[0]
    angle = math.acos(float(np.clip((np.trace(rotated) - 1) / 2, -1, 1)))
    moved = float(np.linalg.norm(other - one, axis=1).max()) / size
    return Standing(moved, float((one - other)[:, 2].mean()) / size, angle)
