"""Does an exported scene stand by itself? Two seconds of it in MuJoCo."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from photoscene.export.formats.mjcf import TIMESTEP_S, body_name, mjcf_text
from photoscene.export.model import ExportObject, ExportScene
from photoscene.physics.colliders import box_diagonal
from scene.types import Float64

SECONDS = 2.0
SAMPLES = 2000  # vertices whose way is measured, of each object


# An uneven base rocks onto its feet: scans that stand on a floor turn by up to this, as the hull of
# their base says.
ROCKING_RAD = math.radians(2.5)


@dataclass(frozen=True)
class Standing:
    """What an object did in two seconds, in shares of its size (the diagonal of its box).

    moved: how far the vertex went that went farthest; shifted: how far its centre of mass did;
    sank: by how much its vertices' centre sank; turned_rad; infinite where the simulation came
    apart. touches: whether it touches anything at first; into: how deep it then reaches into what
    it reaches into the deepest.
    """

    moved: float
    shifted: float
    sank: float
    turned_rad: float
    touches: bool = True
    into: float = 0.0

    @property
    def unsteady(self) -> float:
        """How far it moved, but for rocking: the way of its centre of mass where it only settles
        onto an uneven base."""
        return self.shifted if self.turned_rad <= ROCKING_RAD else self.moved


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
        depth = _depth_of_contacts(model, data)
        for _ in range(round(SECONDS / TIMESTEP_S)):
            mujoco.mj_step(model, data)
        end = [_pose(data, body) for body in bodies]
    finally:
        mujoco.set_mju_user_warning(None)
    return [
        _compared(o, before, after, depth.get(body))
        for o, body, before, after in zip(scene.objects, bodies, start, end, strict=True)
    ]


def _depth_of_contacts(model: Any, data: Any) -> dict[int, float]:
    """How deep each body that touches anything reaches into something."""
    depth: dict[int, float] = {}
    for contact in data.contact[: data.ncon]:
        for geom in (contact.geom1, contact.geom2):
            body = int(model.geom_bodyid[geom])
            depth[body] = max(depth.get(body, 0.0), -float(contact.dist))
    return depth


def _pose(data: Any, body: int) -> tuple[Float64, Float64]:
    rotation = np.array(data.xmat[body], np.float64).reshape(3, 3)
    return rotation, np.array(data.xpos[body], np.float64)


def _compared(
    o: ExportObject,
    before: tuple[Float64, Float64],
    after: tuple[Float64, Float64],
    depth: float | None,
) -> Standing:
    """depth: of its contacts at first, in metres, None where it had none."""
    if not all(np.isfinite(part).all() for part in after):
        return Standing(math.inf, math.inf, math.inf, math.inf)
    assert o.body is not None  # the scene has a body for every object
    vertices = o.mesh.vertices.astype(np.float64)
    size = box_diagonal(vertices)
    chosen = vertices[np.linspace(0, len(vertices) - 1, min(len(vertices), SAMPLES)).astype(int)]
    one, other = (chosen @ rotation.T + position for rotation, position in (before, after))
    centres = [rotation @ o.body.mass.centre + position for rotation, position in (before, after)]
    rotated = before[0].T @ after[0]
    angle = math.acos(float(np.clip((np.trace(rotated) - 1) / 2, -1, 1)))
    return Standing(
        moved=float(np.linalg.norm(other - one, axis=1).max()) / size,
        shifted=float(np.linalg.norm(centres[1] - centres[0])) / size,
        sank=float((one - other)[:, 2].mean()) / size,
        turned_rad=angle,
        touches=depth is not None,
        into=(depth or 0.0) / size,
    )
