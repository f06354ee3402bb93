"""Map points backend `file`: depth or a point map from any sensor or program.

PNG or TIFF (16 bits, or floats), NPY or NPZ (depth (H, W) or points (H, W, 3), optional K), PFM
and EXR. Floats are metres, integers steps of `unit_m`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.cameras import camera_from_fov, camera_from_matrix, resize_camera
from scene.errors import BadInput
from scene.images import orientation_remedy
from scene.intrinsics import change_intrinsics
from scene.types import Camera, DepthFile, Float32, Mask, Photo, PointMap
from stages.map_points import MapPointsBackend
from stages.map_points.file.geometry import FAR_M, Geometry, fit_camera, read_geometry

MAX_ASPECT_ERROR = 0.01
# Of focal length, between the file's camera and the known one: EXIF gives whole millimetres, so
# cameras that agree this well are one and the same.
MAX_FOCAL_DIFFERENCE = 0.01


@dataclass(frozen=True)
class Settings:
    """unit_m: metres per step of whole numbers; fov_x_deg: assumed where nothing else gives it."""

    unit_m: float = 0.001
    fov_x_deg: float = 55.0

    def __post_init__(self) -> None:
        if not self.unit_m > 0:
            raise BadInput(f"unit_m: expected more than 0, got {self.unit_m:g}")
        if not 1 <= self.fov_x_deg <= 170:
            raise BadInput(f"fov_x_deg: expected 1 to 170, got {self.fov_x_deg:g}")


@dataclass(frozen=True)
class DepthFileReader:
    """Reads the user's file."""

    settings: Settings

    def map_points(
        self,
        photo: Photo,
        camera: Camera | None,
        masks: tuple[Mask, ...],
        file: DepthFile | None,
    ) -> PointMap:
        """The file's depth at the photo's size; the camera as given, or the file's, or assumed.

        A file made for another camera than the given one is adapted to it, and a note says so.
        """
        if file is None:
            raise BadInput("backend file needs --pointmap FILE")
        geometry = read_geometry(file, self.settings.unit_m)
        height, width = geometry.depth.shape
        _check_shape(width, height, photo, file)
        if camera is None:
            camera, notes = self._camera(geometry, photo, file.name)
            depth = geometry.depth.astype(np.float32)
        else:
            depth, notes = _depth_for(camera, geometry, file.name)
        if (depth > FAR_M).sum() > (depth > 0).sum() / 2:
            notes += (f"half of the depth file lies beyond {FAR_M:g} m: is it in metres?",)
        if (width, height) != (photo.width, photo.height):
            size = (photo.width, photo.height)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
            notes += (f"depth resampled from {width} x {height} (nearest)",)
        return PointMap(depth, camera, True, notes)

    def _camera(
        self, geometry: Geometry, photo: Photo, name: str
    ) -> tuple[Camera, tuple[str, ...]]:
        """The file's own camera, else an assumed one, and what to say about it."""
        own = _own_camera(geometry, name)
        if own is not None:
            how = "from the depth file" if geometry.K is not None else "fitted to the points"
            return resize_camera(own, photo.width, photo.height), (f"camera {how}",)
        degrees = self.settings.fov_x_deg
        note = f"field of view {degrees:g} degrees assumed; give --fov or --camera"
        return camera_from_fov(photo.width, photo.height, np.radians(degrees)), (note,)


def load(settings: Settings, device: str) -> DepthFileReader:
    """Nothing to load."""
    return DepthFileReader(settings)


def _check_shape(width: int, height: int, photo: Photo, file: DepthFile) -> None:
    """Raise BadInput where the file has other proportions than the photo."""
    sizes = f"{file.name} is {width} x {height}, the photo {photo.width} x {photo.height}"
    if abs(width / height * photo.height / photo.width - 1) <= MAX_ASPECT_ERROR:
        return
    if abs(height / width * photo.height / photo.width - 1) <= MAX_ASPECT_ERROR:
        raise BadInput(f"{sizes}, so it lies on its side: {orientation_remedy(file.turned)}")
    raise BadInput(f"{sizes}: the shapes differ; crop or pad one to match")


def _depth_for(camera: Camera, geometry: Geometry, name: str) -> tuple[Float32, tuple[str, ...]]:
    """The depth (H, W) for a known camera: adapted where the file was made for another one."""
    depth = geometry.depth.astype(np.float32)
    try:
        own = _own_camera(geometry, name)
    except BadInput:  # the known camera is the remedy that the error names
        return depth, ()
    if own is None:
        return depth, ()
    camera = resize_camera(camera, own.width, own.height)
    focal_ratios = np.array([camera.fx_px / own.fx_px, camera.fy_px / own.fy_px])
    if (np.abs(np.log(focal_ratios)) <= MAX_FOCAL_DIFFERENCE).all():
        return depth, ()
    changed = change_intrinsics(PointMap(depth, own, True), camera, geometry.points)
    return changed.depth, changed.notes


def _own_camera(geometry: Geometry, name: str) -> Camera | None:
    """The camera that the file carries, K before a fit to its points; None when it has neither."""
    height, width = geometry.depth.shape
    if geometry.K is not None:
        try:
            return camera_from_matrix(width, height, geometry.K)
        except BadInput as error:
            raise BadInput(f"{name}: its {error}; leave K out, or give --camera") from None
    return None if geometry.points is None else fit_camera(geometry.points)


BACKEND = MapPointsBackend(version="3", settings=Settings, load=load)
