"""Do flexible dual grids become the reference's meshes, and meshes its dual grids?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparse3d.dual_grid import dual_grid_to_mesh
from sparse3d.dual_grid_encode import mesh_to_dual_grid

if TYPE_CHECKING:
    from support.parity.fixture import Fixture


def check_decoding(fixture: Fixture) -> None:
    """Dual grid to mesh, with split weights and without."""
    coords, intersected = fixture.input("coords"), fixture.input("intersected").bool()
    dual_vertices, split_weight = fixture.input("dual_vertices"), fixture.input("split_weight")
    grid_size = fixture.sidecar["grid_size"]
    vertices, faces = dual_grid_to_mesh(coords, dual_vertices, intersected, split_weight, grid_size)
    _, unweighted = dual_grid_to_mesh(coords, dual_vertices, intersected, None, grid_size)
    fixture.compare("vertices", vertices)
    fixture.compare("faces", faces)
    fixture.compare("faces_no_split_weight", unweighted)


def check_encoding(fixture: Fixture) -> None:
    """Mesh to dual grid, and back to a mesh."""
    stated = fixture.sidecar["kwargs"]
    grid_size = fixture.sidecar["grid_size"]
    grid = mesh_to_dual_grid(
        fixture.input("vertices"),
        fixture.input("faces"),
        grid_size,
        stated["face_weight"],
        stated["boundary_weight"],
        stated["regularization_weight"],
    )
    in_voxels = fixture.tolerance("dual_offset")
    in_cube = (in_voxels[0] / grid_size, 0.0)
    fixture.compare("coords", grid.coords)
    fixture.compare("intersected", grid.intersected)
    fixture.compare("dual_offset", grid.dual_vertices)
    absolute = (grid.coords + grid.dual_vertices) / grid_size
    fixture.compare("dual_vertices_abs", absolute, in_cube)
    vertices, faces = dual_grid_to_mesh(
        grid.coords, grid.dual_vertices, grid.intersected, None, grid_size
    )
    fixture.compare("remesh_vertices", vertices, in_cube)
    fixture.compare("remesh_faces", faces)


CHECKS = {
    "o_voxel.convert.flexible_dual_grid_to_mesh": check_decoding,
    "o_voxel.convert.mesh_to_flexible_dual_grid": check_encoding,
}
