"""Pixal3D's frames against ours: what is decoded lands on the pixels that it was made from."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from alignment.visible import generator_distance  # noqa: E402
from pixal3d import VoxelAttributes, bake  # noqa: E402
from pixal3d.camera import (  # noqa: E402
    PosedCamera,
    distance_from_fov,
    front_camera,
    grid_coords,
    project_points,
    voxel_points,
)
from scene.cameras import camera_from_fov, project  # noqa: E402
from scene.frames import gltf_from_opencv  # noqa: E402
from scene.glb import object_from_glb, object_to_glb  # noqa: E402
from scene.raycast import render  # noqa: E402
from scene.seams import vertex_places  # noqa: E402
from scene.types import CropCamera, ObjectMesh  # noqa: E402
from sparse3d.dual_grid import dual_grid_to_mesh  # noqa: E402
from sparse3d.dual_grid_encode import mesh_to_dual_grid  # noqa: E402
from stages.generate.pixal3d import object_mesh  # noqa: E402
from support.shapes import letter_f  # noqa: E402

SIDE_PX, GRID = 256, 96


def _crop(fov_rad: float) -> CropCamera:
    return CropCamera(camera_from_fov(SIDE_PX, SIDE_PX, fov_rad), np.eye(3))


@pytest.mark.parametrize("fov_rad", [0.2, 0.6, 1.2])
def test_a_voxel_s_pixel_is_its_point_s_pixel(fov_rad: float) -> None:
    """The projection that conditions a voxel, and our camera on the same point, agree."""
    coords = grid_coords(7, torch.zeros(1))
    view = PosedCamera(fov_rad, front_camera(distance_from_fov(fov_rad)))
    theirs = project_points(voxel_points(coords, 7), view, SIDE_PX)
    crop = _crop(fov_rad)
    corners = coords.numpy() / 6 - 0.5  # Pixal3D's grid, in the cube of side 1
    points = gltf_from_opencv(corners) + [0, 0, generator_distance(crop)]
    np.testing.assert_allclose(project(crop.camera, points), theirs.pixel_xy.numpy(), atol=2e-3)
    np.testing.assert_allclose(points[:, 2], theirs.depth.numpy(), atol=1e-5)


def _decoded(mesh: ObjectMesh) -> ObjectMesh:
    """The mesh as the networks would decode it, if they decoded it exactly: through the dual grid
    and the texture, colours telling the position in Pixal3D's grid."""
    vertices = torch.from_numpy(gltf_from_opencv(mesh.vertices).astype(np.float32))
    vertices, index = vertices.unique(dim=0, return_inverse=True)
    grid = mesh_to_dual_grid(vertices, index[torch.from_numpy(mesh.faces).long()], GRID)
    made = dual_grid_to_mesh(grid.coords, grid.dual_vertices, grid.intersected, None, GRID)
    position = (grid.coords + 0.5) / GRID
    values = torch.cat([position, torch.zeros(len(position), 2), torch.ones(len(position), 1)], 1)
    return object_mesh(bake(*made, VoxelAttributes(grid.coords, values, GRID), 512, 8000))


def test_an_f_stays_an_f_on_its_pixels() -> None:
    """Outline, depth and colours of an asymmetric shape, decoded and seen by the crop's camera."""
    crop, shape = _crop(0.6), letter_f()
    decoded = _decoded(shape)
    shift = np.array([0, 0, generator_distance(crop)])
    _, true_index, true_depth = render([(shape, shape.vertices + shift)], crop.camera)
    rgba, index, depth = render([(decoded, decoded.vertices + shift)], crop.camera)
    true, seen = true_index == 0, index == 0
    assert (true & seen).sum() / (true | seen).sum() > 0.99
    assert np.median(np.abs(depth - true_depth)[true & seen]) < 0.5 / GRID
    rows, columns = np.nonzero(true & seen)
    rays = np.stack([columns + 0.5 - SIDE_PX / 2, rows + 0.5 - SIDE_PX / 2], 1)
    z = depth[rows, columns]
    x, y = (rays / crop.camera.fx_px * z[:, None]).T
    grid = gltf_from_opencv(np.stack([x, y, z], 1) - shift) + 0.5  # x right, y up, z to the viewer
    off = np.abs(rgba[rows, columns, :3] / 255 - grid)
    assert np.percentile(off, 95) < 2 / GRID
    assert not np.allclose(true_index, np.fliplr(true_index))


def test_metallic_roughness_and_the_winding_of_a_decoded_object_reach_its_file() -> None:
    """A closed body is drawn from outside only; an open sheet from behind as well."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    vertices, faces = ball.vertices.astype(np.float32), ball.faces.astype(np.int32)
    uv, black = np.zeros((len(vertices), 2), np.float32), np.zeros((2, 2, 3), np.uint8)
    body = _decoded(ObjectMesh(vertices, faces, uv, black))
    back = object_from_glb(object_to_glb(body))
    assert back.material.metallic_roughness is not None and back.material.alpha is None
    np.testing.assert_array_equal(
        back.material.metallic_roughness, body.material.metallic_roughness
    )
    assert not back.material.double_sided
    corners = torch.tensor([[0.0, 0, 0], [0.4, 0, 0], [0.4, 0.4, 0], [0, 0.4, 0]])
    halves = torch.tensor([[0, 1, 2], [0, 2, 3]])
    values = torch.tensor([[0.5, 0.5, 0.5, 0.0, 0.2, 1.0]])
    sheet = bake(corners, halves, VoxelAttributes(torch.tensor([[9, 9, 9]]), values, 16), 64, 100)
    assert object_from_glb(object_to_glb(object_mesh(sheet))).material.double_sided


def test_shading_is_smooth_across_the_seams_of_a_decoded_object() -> None:
    """Vertices of one place have one normal, whatever chart they are in."""
    mesh = _decoded(letter_f())
    place = vertex_places(mesh.vertices)
    assert mesh.normals is not None and place.max() + 1 < len(place)  # there are seams
    first = np.unique(place, return_index=True)[1]
    np.testing.assert_allclose(mesh.normals, mesh.normals[first][place], atol=1e-6)
