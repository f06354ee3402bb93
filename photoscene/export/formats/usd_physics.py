"""UsdPhysics: what makes the objects of a USD stage bodies of a simulator."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from photoscene.export.model import METRES
from photoscene.physics.bodies import Body
from photoscene.physics.colliders import ConvexPart

COLLIDERS = "colliders"


def add_physics_scene(stage: Any, root: Any) -> None:
    """Gravity as it is on the ground, downwards, and masses in kilograms."""
    UsdPhysics = importlib.import_module("pxr.UsdPhysics")
    UsdPhysics.Scene.Define(stage, root.GetPath().AppendChild("physics_scene"))
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)


def add_body(stage: Any, prim: Any, body: Body, unit: str) -> None:
    """Make a prim a rigid body with its mass, and give it convex colliders that are not drawn.

    body: its parts are in the stage's unit, its mass in kg and metres.
    """
    Gf, UsdPhysics = (importlib.import_module(f"pxr.{n}") for n in ("Gf", "UsdPhysics"))
    UsdPhysics.RigidBodyAPI.Apply(prim)
    mass = UsdPhysics.MassAPI.Apply(prim)
    lengths = 1 / METRES[unit]
    moments, axes = principal_axes(body)
    mass.CreateMassAttr(body.mass.mass_kg)
    mass.CreateCenterOfMassAttr(Gf.Vec3f(*(body.mass.centre * lengths).tolist()))
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*(moments * lengths**2).tolist()))
    rotation = Gf.Matrix3d(axes.T.tolist()).ExtractRotation().GetQuat()  # USD multiplies rows
    mass.CreatePrincipalAxesAttr(Gf.Quatf(rotation))
    for index, part in enumerate(body.parts):
        path = prim.GetPath().AppendChild(COLLIDERS).AppendChild(f"part_{index:02d}")
        _add_collider(stage, path, part)


def principal_axes(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """The moments (3,) of an inertia and its axes as the columns of a rotation (3, 3)."""
    moments, axes = np.linalg.eigh(body.mass.inertia)
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
    return moments, axes


def _add_collider(stage: Any, path: Any, part: ConvexPart) -> None:
    UsdGeom, UsdPhysics, Vt = (
        importlib.import_module(f"pxr.{n}") for n in ("UsdGeom", "UsdPhysics", "Vt")
    )
    UsdGeom.Scope.Define(stage, path.GetParentPath())
    shape = UsdGeom.Mesh.Define(stage, path)
    vertices = np.ascontiguousarray(part.vertices, np.float32)
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
    counts = np.full(len(part.faces), 3, np.int32)
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(counts))
    indices = np.ascontiguousarray(part.faces.reshape(-1), np.int32)
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(indices))
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    extent = np.array([vertices.min(0), vertices.max(0)], np.float32)
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))
    shape.CreatePurposeAttr(UsdGeom.Tokens.guide)
    UsdPhysics.CollisionAPI.Apply(shape.GetPrim())
    UsdPhysics.MeshCollisionAPI.Apply(shape.GetPrim()).CreateApproximationAttr("convexHull")
