"""Images from new viewpoints: turned stills of one object, and the point map from two sides.

Frames are the camera's or an object's: x right, y down, z ahead. `up` (3,) is a direction in
them, and None means that nothing better is known than -y.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from photoscene.report.flat_images import known_depth, shrunk
from photoscene.report.viewer_model import merged
from photoscene.views.lighting import FEWER_LAMP_SAMPLES, FEWER_SKY_SAMPLES, sky_lamps
from photoscene.views.studio import Studio
from photoscene.views.viewpoints import Direction, around, leveled, pitch, yaw
from scene.cameras import points_of, unproject
from scene.types import Float64, ObjectMesh, Photo, PointMap, Similarity, Uint8

AZIMUTHS_DEG = (0, 60, 120, 180, 240, 300)
STILL_ELEVATION_DEG = 18  # slightly above, so that tops show
STILL_FRAMING, STILL_SAMPLES = 1.04, 2
AS_IT_IS = Similarity(1.0, np.eye(3), np.zeros(3))
TOWARD_CAMERA = np.array([0.0, 0.0, -1.0])
SUPERSAMPLING = 2
# Denser meshes are thinned first: no still shows more, and the search tree is what costs.
MAX_STILL_FACES, STILL_CELLS = 60_000, 128
# Points are drawn on one dark grey in both colour schemes: photos are rarely that dark and flat.
BACKGROUND_RGB = (30, 33, 38)
CAMERA_RGB, VIEW_LINE_RGB = (255, 255, 255), (110, 118, 130)
POINT_VIEW_PX = (640, 480)
FAR_PERCENTILE, FAR_OVER_MEDIAN = 97.0, 3.0  # farther points are left out: they hide the rest
MAX_POINTS = 300_000  # more do not show at this size
VIEW_YAW_RAD, VIEW_PITCH_RAD = math.radians(38), math.radians(28)
STEEPEST_RAD = math.radians(70)  # from straight above nothing stands
MARGIN = 0.94  # fraction of the image that the points fill


def turntable(mesh: ObjectMesh, side_px: int, up: Float64 | None = None) -> Uint8:
    """(side, side * views, 4): views around an object, the first from the photo's side."""
    vertices, faces, uv, normals = mesh.vertices, mesh.faces, mesh.uv, mesh.normals
    if len(faces) > MAX_STILL_FACES:
        vertices, faces, uv = merged(vertices, faces, uv, STILL_CELLS)
        normals = None
    light = replace(mesh, vertices=vertices, faces=faces, uv=uv, normals=normals, dense=None)
    # No ground: its shadow would make a smaller object of each, and the page may be dark.
    lamps = sky_lamps(FEWER_SKY_SAMPLES, FEWER_LAMP_SAMPLES)
    studio = Studio([(light, AS_IT_IS)], up, TOWARD_CAMERA, shadow=False, lamps=lamps)
    directions = [Direction(azimuth, STILL_ELEVATION_DEG) for azimuth in AZIMUTHS_DEG]
    points, size = vertices.astype(np.float64), (side_px, side_px)
    views = around(points, directions, size, up, TOWARD_CAMERA, framing=STILL_FRAMING)
    return np.concatenate([studio.draw(view, STILL_SAMPLES) for view in views], axis=1)


def rotated_points(point_map: PointMap, photo: Photo, up: Float64 | None = None) -> Uint8:
    """(H, W, 3): the coloured points for a viewer who has gone to the right and a little up."""
    points, colours = _points_in_range(point_map, photo)
    centre = np.median(points, axis=0)
    pitch_down_rad = 0.0 if up is None else math.asin(np.clip(-up[2], -1, 1))
    pitch_rad = min(pitch_down_rad + VIEW_PITCH_RAD, STEEPEST_RAD)
    rotated = (points - centre) @ (pitch(pitch_rad) @ yaw(VIEW_YAW_RAD) @ leveled(up)).T
    # The viewer keeps the photo's distance, so near things stay larger than far ones.
    z = rotated[:, 2] + float(np.linalg.norm(centre))
    ahead = z > 0.05 * np.linalg.norm(centre)
    xy = rotated[ahead, :2] / z[ahead, None]
    return _splat(xy, z[ahead], colours[ahead])


def points_from_above(point_map: PointMap, photo: Photo, up: Float64 | None = None) -> Uint8:
    """(H, W, 3): a plan, what is ahead of the camera up the image. The camera is the white mark,
    grey lines lead to the ends of the photo's middle row."""
    points, colours = _points_in_range(point_map, photo)
    camera, farthest = point_map.camera, float(points[:, 2].max())
    ends = unproject(camera, np.array([[0, camera.cy_px], [camera.width, camera.cy_px]])) * farthest
    level = leveled(up).T
    placed, line = points @ level, np.stack([ends[0], np.zeros(3), ends[1]]) @ level
    # Depth goes up the image, height is seen end on: what is higher covers what is lower.
    plan = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])
    return _splat(placed @ plan, placed[:, 1], colours, line @ plan)


def _points_in_range(point_map: PointMap, photo: Photo) -> tuple[Float64, Uint8]:
    """(N, 3) known points that are not far off, and their colours (N, 3)."""
    depth = point_map.depth
    known = known_depth(depth)
    limit = min(np.percentile(depth[known], FAR_PERCENTILE),
                FAR_OVER_MEDIAN * float(np.median(depth[known])))  # fmt: skip
    near = known & (depth <= limit)
    every = 1 + int(near.sum()) // MAX_POINTS
    return points_of(point_map)[near][::every], photo.rgb[near][::every]


def _splat(xy: Float64, depth: Float64, colours: Uint8, view_line: Float64 | None = None) -> Uint8:
    """Draw points (N, 2), the least depth (N,) on top, fitted into the image.

    sight (M, 2): a line in the same plane, in which the camera stands at the origin.
    """
    width, height = (SUPERSAMPLING * side for side in POINT_VIEW_PX)
    framed = xy if view_line is None else np.concatenate([xy, view_line])
    low, high = (np.percentile(framed, p, axis=0) for p in ((0.2, 99.8)))
    if view_line is not None:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = MARGIN * float((np.array([width, height]) / np.maximum(high - low, 1e-9)).min())
    offset = np.array([width, height]) / 2 - scale * (low + high) / 2
    dot_px = _dot_px(len(xy), width * height)
    margin = 2 * dot_px  # so that each pixel of a dot is one write for all points
    canvas = np.full((height + 2 * margin, width + 2 * margin), _packed(BACKGROUND_RGB))
    image = canvas.view(np.uint8).reshape(*canvas.shape, 4)[margin:-margin, margin:-margin]
    if view_line is not None:
        _draw_view_line(image, np.rint(view_line * scale + offset), np.rint(offset))
    order = np.argsort(-depth, kind="stable")  # of writes to one pixel the last, nearest, stays
    at = np.floor(xy[order] * scale + offset).astype(np.int64)
    reaches = ((at >= -dot_px) & (at < np.array([width, height]) + dot_px)).all(1)
    _write(canvas, at[reaches] + margin, _packed(colours[order][reaches]), dot_px)
    return shrunk(np.ascontiguousarray(image[..., :3]), POINT_VIEW_PX[0])


def _dot_px(points: int, pixels: int) -> int:
    """Side of a point's square so that a surface of them has few holes."""
    return int(np.clip(round(math.sqrt(1.6 * pixels / max(points, 1))), 2, 12))


def _write(
    canvas: NDArray[np.uint32], at: NDArray[np.int64], colours: NDArray[np.uint32], dot_px: int
) -> None:
    """Draw a square about each point (N, 2), none of which leaves the canvas. Where several cover
    a pixel, the later pixel of the square stays, row by row, and of those the later point."""
    width, flat = canvas.shape[1], canvas.reshape(-1)
    places = at @ np.array([1, width])
    steps = np.arange(dot_px) - dot_px // 2
    for dy in steps:
        for dx in steps:
            flat[places + (dy * width + dx)] = colours


def _packed(rgb: Uint8 | tuple[int, int, int]) -> NDArray[np.uint32]:
    """Colours (..., 3) as numbers (...), to be written at once."""
    rgb = np.asarray(rgb, np.uint8)
    return np.insert(rgb, 3, 0, axis=-1).view(np.uint32)[..., 0]


def _draw_view_line(image: Uint8, line: Float64, camera: Float64) -> None:
    import cv2

    points = line.astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(image, [points], False, VIEW_LINE_RGB, SUPERSAMPLING, cv2.LINE_AA)
    centre = (int(camera[0]), int(camera[1]))
    cv2.circle(image, centre, 5 * SUPERSAMPLING, CAMERA_RGB, -1, cv2.LINE_AA)
