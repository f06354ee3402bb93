"""Do cameras, grid nodes and projected features equal the reference's?"""

from __future__ import annotations

import torch

from pixal3d.camera import (
    PosedCamera,
    distance_from_fov,
    focal_px,
    front_camera,
    grid_coords,
    project_points,
    project_voxels,
    voxel_points,
)
from pixal3d.projection import sample_map
from support.parity.fixture import Fixture


def check_distances(fixture: Fixture) -> None:
    rows = fixture.input("fov_scale_res_ext").tolist()
    distances = [distance_from_fov(fov, s, int(size), extend) for fov, s, size, extend in rows]
    focals = [focal_px(fov, int(size)) for fov, _, size, _ in rows]
    fixture.compare("distance", torch.tensor(distances, dtype=torch.float64))
    fixture.compare("f_pixels", torch.tensor(focals, dtype=torch.float64))


def check_projection(fixture: Fixture) -> None:
    grid_size = fixture.arguments["grid_resolution"]
    image_size = fixture.arguments["image_resolution"]
    coords = grid_coords(grid_size, fixture.input("fmap"))
    scales = fixture.input("mesh_scale").tolist()
    fovs = fixture.input("camera_angle_x").tolist()
    views = [
        PosedCamera(fov, front_camera(distance))
        for fov, distance in zip(fovs, fixture.input("distance").tolist(), strict=True)
    ]
    fixture.compare("camera_to_world", torch.stack([view.world_from_camera for view in views]))
    fixture.compare(
        "points_world", torch.stack([voxel_points(coords, grid_size, s) for s in scales])
    )
    _compare_image_points(fixture, "", views, image_size)
    posed = [
        PosedCamera(fov, pose)
        for fov, pose in zip(fovs, fixture.input("posed_camera_to_world"), strict=True)
    ]
    _compare_image_points(fixture, "posed_", posed, image_size)

    positions = torch.stack(
        [
            project_voxels(coords, grid_size, view, scale, image_size)
            for view, scale in zip(views, scales, strict=True)
        ]
    )
    features = fixture.tolerance("features")
    # The pixel tolerance, in units of the [-1, 1] that spans the image.
    fixture.compare(
        "grid_xy_norm", positions, (2 * fixture.tolerance("pixel_xy")[0] / image_size, 0)
    )
    fixture.compare("proj_dense", sample_map(fixture.input("fmap"), positions), features)
    fixture.compare("proj_dense_hr", sample_map(fixture.input("fmap_hr"), positions), features)
    fixture.compare("proj_sparse", _at_active_voxels(fixture, views, scales), features)


def _compare_image_points(
    fixture: Fixture, prefix: str, views: list[PosedCamera], image_size: int
) -> None:
    """Pixels, depth and visibility of the fixture's own world points."""
    seen = [
        project_points(points, view, image_size)
        for points, view in zip(fixture.output("points_world"), views, strict=True)
    ]
    pixel_xy = torch.stack([item.pixel_xy for item in seen])
    fixture.compare(f"{prefix}pixel_xy", pixel_xy, fixture.tolerance("pixel_xy"))
    fixture.compare(f"{prefix}depth", torch.stack([item.depth for item in seen]))
    fixture.compare(f"{prefix}valid", torch.stack([item.visible for item in seen]))


def _at_active_voxels(
    fixture: Fixture, views: list[PosedCamera], scales: list[float]
) -> torch.Tensor:
    """Rows of the listed voxels only: one batch item, one view."""
    coords, fmap = fixture.input("coords"), fixture.input("fmap")
    grid_size = fixture.arguments["grid_resolution"]
    image_size = fixture.arguments["image_resolution"]
    rows = []
    for item, (view, scale) in enumerate(zip(views, scales, strict=True)):
        active = coords[coords[:, 0] == item, 1:]
        positions = project_voxels(active, grid_size, view, scale, image_size)
        rows.append(sample_map(fmap[item : item + 1], positions[None])[0])
    return torch.cat(rows)


CHECKS = {"distance_from_fov": check_distances, "ProjGrid": check_projection}
