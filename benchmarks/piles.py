"""Scenes of things that stand on, in, against and beside each other, built from household scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.known_scenes import (
    NOTHING,
    KnownObject,
    KnownScene,
    edge_profiles,
    edges_of,
    photograph,
    read_mesh,
)
from benchmarks.surfaces import surface_of
from scene.cameras import camera_from_fov
from scene.types import Camera, Float64

WIDTH, HEIGHT = 768, 576
GAP_M = 0.05e-3  # what is left between surfaces that were pushed together
EDGE_ON = 1e-4  # cosine between a face's normal and a ray below which it is seen from its edge
UP, DOWN = np.array([0.0, 0, 1]), np.array([0.0, 0, -1])
LEFT, RIGHT = np.array([-1.0, 0, 0]), np.array([1.0, 0, 0])
BACK, FRONT = np.array([0.0, 1, 0]), np.array([0.0, -1, 0])  # the cameras look towards BACK


def piles(objects_folder: Path) -> list[KnownScene]:
    """The five scenes, from the folder with the scanned household objects (*.glb, metres, z up)."""

    def scan(name: str) -> KnownObject:
        return read_mesh(objects_folder / f"{name}.glb", name)

    return [
        photograph("stack", *_camera(42, 0.85, 22, -20, (0.01, 0, 0.07)), _stack(scan)),
        photograph("nested", *_camera(46, 0.7, 38, 15, (0.03, 0, 0.02)), _nested(scan)),
        photograph("leaning", *_camera(45, 0.85, 20, -10, (0, 0, 0.06)), _leaning(scan)),
        photograph("touching", *_camera(44, 0.75, 28, 10, (0.04, 0, 0.05)), _touching(scan)),
        photograph("slender", *_camera(44, 0.75, 30, 0, (0.03, 0, 0.04)), _slender(scan)),
    ]


Scan = Callable[[str], KnownObject]


def _stack(scan: Scan) -> list[KnownObject]:
    """A carton on a lying box, bread on a can on a box, and a pile of books with a bowl on top."""
    cereal = at(rolled(scan("rs_cereal"), "x", 90), (-0.17, 0.0), yaw_deg=70)
    milk = stacked(at(scan("rs_milk"), (-0.18, 0.02), yaw_deg=20), [cereal])
    box = at(cuboid("box", 0.13, 0.10, 0.06), (0.0, 0.03), yaw_deg=-15)
    can = stacked(at(scan("rs_can"), (-0.01, 0.03)), [box])
    bread = stacked(at(scan("rs_bread"), (-0.005, 0.03), yaw_deg=40), [can])
    atlas = at(cuboid("atlas", 0.17, 0.13, 0.028), (0.19, 0.0), yaw_deg=8)
    novel = stacked(at(cuboid("novel", 0.14, 0.11, 0.02), (0.185, 0.005), yaw_deg=-12), [atlas])
    diary = stacked(at(cuboid("diary", 0.12, 0.09, 0.015), (0.19, 0.0), yaw_deg=25), [novel])
    bowl = stacked(at(scan("gso_white_bowl"), (0.19, 0.0)), [diary])
    return [cereal, milk, box, can, bread, atlas, novel, diary, bowl]


def _nested(scan: Scan) -> list[KnownObject]:
    """Fruit in a bowl on a plate; a ramekin with a ball in it and bread in a pan."""
    plate = at(scan("gso_plate"), (-0.13, 0.0))
    bowl = stacked(at(scan("gso_akita_black_bowl"), (-0.13, 0.0)), [plate])
    lemon = stacked(at(scan("rs_lemon"), (-0.135, -0.012), yaw_deg=20), [plate, bowl])
    plum = stacked(at(ball("plum", 0.015), (-0.125, 0.025)), [plate, bowl, lemon])
    for way in (FRONT, DOWN, FRONT):  # it slides between the lemon and the bowl
        plum = pushed(plum, way, [bowl, lemon])
    pan = at(scan("gso_chefmate_8_frypan"), (0.13, 0.0), yaw_deg=20)
    ramekin = stacked(at(scan("gso_glazed_rim_porcelain_ramekin"), (0.05, 0.01)), [pan])
    marble = stacked(at(ball("marble", 0.016), (0.045, 0.005)), [pan, ramekin])
    bread = stacked(at(scan("rs_bread"), (0.125, -0.02), yaw_deg=30), [pan, ramekin])
    return [plate, bowl, lemon, plum, pan, ramekin, marble, bread]


def _leaning(scan: Scan) -> list[KnownObject]:
    """A book against a carton, bread against a can, a plate and a stick against a box."""
    milk = at(scan("rs_milk"), (-0.17, 0.0), yaw_deg=10)
    book = at(rolled(cuboid("book", 0.02, 0.10, 0.14), "y", 18), (-0.3, 0.005))
    can = at(scan("rs_can"), (-0.03, -0.02))
    bread = at(rolled(scan("rs_bread"), "y", -14), (0.1, -0.02))
    box = at(cuboid("box", 0.17, 0.06, 0.14), (0.17, 0.05), yaw_deg=5)
    plate = at(rolled(scan("gso_plate"), "x", 68), (0.12, -0.1))
    stick = at(rolled(rod("stick", 0.003, 0.18), "y", -25), (0.35, 0.055))
    return [
        milk, pushed(book, RIGHT, [milk]),
        can, pushed(bread, LEFT, [can]),
        box, pushed(plate, BACK, [box]), pushed(stick, LEFT, [box]),
    ]  # fmt: skip


def _touching(scan: Scan) -> list[KnownObject]:
    """Things side by side and before each other on the plane, all in contact."""
    cereal = at(scan("rs_cereal"), (0.0, 0.05), yaw_deg=-4)
    milk = pushed(at(scan("rs_milk"), (-0.3, 0.05), yaw_deg=25), RIGHT, [cereal])
    bottle = pushed(at(scan("rs_bottle"), (0.3, 0.05)), LEFT, [cereal])
    can = pushed(at(scan("rs_can"), (-0.035, -0.3)), BACK, [cereal, milk])
    bowl = pushed(at(scan("gso_white_bowl"), (0.06, -0.3)), BACK, [cereal, bottle])
    bowl = pushed(bowl, LEFT, [can])
    ramekin = at(scan("gso_glazed_rim_porcelain_ramekin"), (0.3, -0.035))
    ramekin = pushed(ramekin, LEFT, [bowl, bottle])
    basket = at(scan("gso_basket"), (0.5, 0.08), yaw_deg=15)
    basket = pushed(pushed(basket, LEFT, [bottle, ramekin]), FRONT, [bottle, ramekin])
    bread = pushed(at(scan("rs_bread"), (-0.4, -0.03), yaw_deg=35), RIGHT, [can, milk])
    lemon = pushed(at(scan("rs_lemon"), (-0.01, -0.35), yaw_deg=-25), BACK, [can, bowl])
    lemon = pushed(lemon, LEFT, [bread])
    return [cereal, milk, bottle, basket, can, bowl, ramekin, bread, lemon]


def _slender(scan: Scan) -> list[KnownObject]:
    """What is hard to measure: a card, a disc, a plate, rods, a stick, a can and a ball."""
    card = at(cuboid("card", 0.09, 0.0008, 0.06, frozenset({"flat"})), (-0.14, 0.08), yaw_deg=6)
    disc = at(cylinder("disc", 0.05, 0.003, frozenset({"flat", "symmetric"})), (-0.1, -0.03))
    pencil = at(rolled(rod("pencil", 0.0035, 0.17), "y", 90), (0.05, -0.09), yaw_deg=25)
    stick = at(rod("stick", 0.003, 0.15), (0.0, 0.06))
    ruler = cuboid("ruler", 0.2, 0.025, 0.002, frozenset({"flat", "thin"}))
    ruler = at(ruler, (0.06, 0.0), yaw_deg=-8)
    can = at(scan("rs_can"), (0.08, 0.08))
    globe = at(ball("globe", 0.03), (0.16, 0.08))
    plate = at(scan("gso_plate"), (0.21, -0.075))
    return [card, disc, pencil, stick, ruler, can, globe, plate]


def _camera(
    fov_x_deg: float,
    distance_m: float,
    elevation_deg: float,
    azimuth_deg: float,
    target: tuple[float, float, float],
) -> tuple[Camera, Float64]:
    """A camera of WIDTH x HEIGHT and world_from_camera; azimuth 0 looks along world y."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    forward = np.array([math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    right = np.array([math.cos(a), -math.sin(a), 0])
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    world_from_camera[:3, 3] = np.array(target) - distance_m * forward
    return camera_from_fov(WIDTH, HEIGHT, math.radians(fov_x_deg)), world_from_camera


def cuboid(
    name: str, x_m: float, y_m: float, z_m: float, kinds: frozenset[str] = NOTHING
) -> KnownObject:
    """A box of these sides."""
    import trimesh

    mesh = trimesh.creation.box((x_m, y_m, z_m))
    return KnownObject(name, np.array(mesh.vertices), mesh.faces.astype(np.int32), kinds=kinds)


def cylinder(
    name: str, radius_m: float, height_m: float, kinds: frozenset[str] = frozenset({"symmetric"})
) -> KnownObject:
    """An upright cylinder of 64 sides."""
    import trimesh

    mesh = trimesh.creation.cylinder(radius_m, height_m, sections=64)
    return KnownObject(name, np.array(mesh.vertices), mesh.faces.astype(np.int32), UP, kinds)


def rod(name: str, radius_m: float, height_m: float) -> KnownObject:
    """An upright thin cylinder."""
    return cylinder(name, radius_m, height_m, frozenset({"thin", "symmetric"}))


def ball(name: str, radius_m: float) -> KnownObject:
    """A sphere of 5120 triangles; of its many axes of revolution the upright one."""
    import trimesh

    mesh = trimesh.creation.icosphere(4, radius_m)
    faces = mesh.faces.astype(np.int32)
    return KnownObject(name, np.array(mesh.vertices), faces, UP, frozenset({"symmetric"}))


def rolled(piece: KnownObject, axis: str, angle_deg: float) -> KnownObject:
    """The piece turned about the world's "x", "y" or "z"."""
    import trimesh

    unit = np.eye(3)["xyz".index(axis)]
    turn = trimesh.transformations.rotation_matrix(math.radians(angle_deg), unit)
    return piece.moved(np.asarray(turn, np.float64))


def at(piece: KnownObject, xy_m: tuple[float, float], yaw_deg: float = 0) -> KnownObject:
    """The piece resting on the plane z = 0, turned about z, the middle of its box over xy."""
    piece = rolled(piece, "z", yaw_deg)
    low, high = piece.vertices.min(0), piece.vertices.max(0)
    return shifted(piece, np.array([*xy_m, 0]) - [*(low + high)[:2] / 2, low[2]])


def shifted(piece: KnownObject, by_m: Float64) -> KnownObject:
    """The piece moved by (3,) metres."""
    return replace(piece, vertices=piece.vertices + by_m)


def stacked(piece: KnownObject, others: Sequence[KnownObject]) -> KnownObject:
    """The piece let down from above, where it is, until it rests on one of the others."""
    top = max(float(o.vertices[:, 2].max()) for o in others)
    return pushed(shifted(piece, UP * (top + GAP_M)), DOWN, others)


def pushed(piece: KnownObject, direction: Float64, others: Sequence[KnownObject]) -> KnownObject:
    """The piece moved along a unit direction until GAP_M is left to the first of the others."""
    way = min(clearance(piece, other, direction) for other in others)
    if not math.isfinite(way):
        raise ValueError(f"{piece.name} meets nothing on its way")
    return shifted(piece, max(way - GAP_M, 0.0) * direction)


def clearance(piece: KnownObject, other: KnownObject, direction: Float64) -> float:
    """How far a piece can move along a unit direction before it meets another; inf when never.

    Two triangle meshes first meet with a vertex on a face or with edges that cross, so the least
    of these gaps, seen along the direction, is exact. The piece must not cut the other.
    """
    from scipy.linalg import null_space

    towards = np.c_[null_space(direction[None]), direction]  # its z is the way; may be a mirror
    a, b = piece.vertices @ towards, other.vertices @ towards
    reach = min(
        _vertices_to_faces(a, b, other.faces, 1.0), _vertices_to_faces(b, a, piece.faces, -1.0)
    )
    ahead = np.array([0, 0, reach])
    pairs = edge_profiles(edges_of(a, piece.faces), edges_of(b, other.faces), np.zeros(3), ahead)
    return min([reach, *(_crossing_gap(*pair) for pair in pairs)])


def _vertices_to_faces(
    points: Float64, vertices: Float64, faces: NDArray[np.int32], sign: float
) -> float:
    """The least way from points (N, 3) along sign * z to a mesh."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Embree may report hits beside a triangle that lies along the ray; its edges are met anyway.
    open_to = np.abs(normal[:, 2]) > EDGE_ON * np.linalg.norm(normal, axis=1)
    ways = np.broadcast_to([0.0, 0.0, sign], points.shape)
    rays = np.concatenate([points, ways], 1).astype(np.float32)
    hits = surface_of((vertices, faces[open_to])).cast_rays(rays)
    return float(hits["t_hit"].numpy().min())


def _crossing_gap(a: Float64, b: Float64) -> float:
    """The least way >= 0 along z from edge a[n] to edge b[n] (N, 2, 3) where they cross in x, y."""
    along_a, along_b, between = a[:, 1] - a[:, 0], b[:, 1] - b[:, 0], b[:, 0] - a[:, 0]
    area = along_a[:, 0] * along_b[:, 1] - along_a[:, 1] * along_b[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel edges compare as False
        s = (between[:, 0] * along_b[:, 1] - between[:, 1] * along_b[:, 0]) / area
        t = (between[:, 0] * along_a[:, 1] - between[:, 1] * along_a[:, 0]) / area
        gap = between[:, 2] + t * along_b[:, 2] - s * along_a[:, 2]
        meets = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1) & (gap >= 0)
    return float(gap[meets].min(initial=np.inf))
