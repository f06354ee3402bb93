"""Map points backend `moge`: MoGe-2 and MoGe, metric points (v1: up to scale) of one photo.

MoGe guesses points up to a shift along z and recovers the shift and the focal length together; a
known focal length is imposed, and then the shift is the one that fits it. Its z then lies on the
ray of each pixel (force_projection), which is what a PointMap is made of: only z is kept, so every
point projects onto its pixel exactly.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from scene.cameras import camera_from_matrix
from scene.errors import BadInput
from scene.types import Camera, DepthFile, Float32, Mask, Photo, PointMap, Uint8
from stages.backends import FULL_EXTRA, Keeping
from stages.devices import LazyModel, put_on, retrying_after_freeing
from stages.map_points import MapPointsBackend
from stages.map_points.moge.centred import (
    centred_view,
    depth_from_view,
    is_centred,
    normals_from_view,
    warped_to_view,
)
from stages.map_points.moge.weights import MoGe, load_moge, weight_files
from stages.settings import local
from stages.weights import weights_digest, weights_folder

Model = Literal[
    "moge-2-vitl-normal", "moge-2-vitl", "moge-2-vitb-normal", "moge-2-vits-normal", "moge-vitl"
]
REMEDY = (
    "lower map_points.tokens, choose a smaller map_points.model, "
    "or set map_points.memory=one_at_a_time"
)
LIBRARIES = {"torch": FULL_EXTRA,
             "moge": "pip install --no-deps -r moge-requirements.txt",
             "utils3d": "pip install --no-deps -r moge-requirements.txt"}  # fmt: skip
MAX_TOKENS = 20_000  # attention to more fills any device; the models were trained for 3600 at most


@dataclass(frozen=True)
class Settings:
    """model: whose weights; tokens: patches that the photo is seen in, null for the most that the
    model was trained for; precision: official is half on CUDA and float32 on a CPU. weights: the
    folder; memory: whether the network stays on the device."""

    model: Model = local("moge-2-vitl-normal")
    tokens: int | None = None
    precision: Literal["official", "float32"] = "official"
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        if self.tokens is not None and not 1 <= self.tokens <= MAX_TOKENS:
            raise BadInput(f"tokens: expected 1 to {MAX_TOKENS}, got {self.tokens}")


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    folder = _folder(settings)
    return weights_digest(folder, weight_files(folder))


class Prediction(NamedTuple):
    """What MoGe makes of a picture: z (H, W), NaN unknown; its normalized focal length fx / W; and
    normals (H, W, 3), where the model has them; the model's name, and whether z is in metres."""

    depth: Float32
    focal_over_width: float
    normals: Float32 | None
    name: str
    metric: bool


@dataclass(frozen=True, eq=False)
class MoGeMapper:
    """One MoGe network, read when the first photo comes."""

    settings: Settings
    device: str
    model: LazyModel[MoGe]

    def map_points(
        self,
        photo: Photo,
        camera: Camera | None,
        masks: tuple[Mask, ...],
        file: DepthFile | None,
    ) -> PointMap:
        """The photo's depth in metres (v1: up to scale), with MoGe's own camera or the known one.

        MoGe assumes a centred camera with square pixels: where the known one has not, it looks
        through one that is turned to the photo's centre, and its points are turned back.
        Raises BadInput where no camera fits the points, OutOfDeviceMemory.
        """
        if camera is None:
            prediction = self._estimate(photo.rgb, None)
            camera = estimated_camera(photo, prediction.focal_over_width)
            focal_note = f"field of view {math.degrees(camera.fov_x_rad):.3g} degrees estimated"
            return _point_map(prediction, camera, focal_note)
        focal_note = f"field of view {math.degrees(camera.fov_x_rad):.3g} degrees imposed"
        if is_centred(camera):
            return _point_map(self._estimate(photo.rgb, camera.fov_x_rad), camera, focal_note)
        view = centred_view(camera)
        prediction = self._estimate(warped_to_view(view, camera, photo.rgb), view.camera.fov_x_rad)
        depth = depth_from_view(prediction.depth, view, camera)
        normals = prediction.normals
        if normals is not None:
            normals = normals_from_view(normals, view, camera)
        turned = math.degrees(math.acos(min(1.0, view.photo_from_crop[2, 2])))
        focal_note += (
            f", seen through a camera turned by {turned:.2g} degrees, for this one is off centre"
        )
        return _point_map(prediction._replace(depth=depth, normals=normals), camera, focal_note)

    def _estimate(self, rgb: Uint8, fov_x_rad: float | None) -> Prediction:
        what = f"a photo of {rgb.shape[1]} x {rgb.shape[0]}"
        work = partial(self._infer, rgb, fov_x_rad)
        return retrying_after_freeing(work, self.model.release, what, REMEDY)

    def _infer(self, rgb: Uint8, fov_x_rad: float | None) -> Prediction:
        import torch

        model = self.model.get()
        _check_tokens(self.settings.tokens, model)
        image = torch.from_numpy(rgb.copy()).to(self.device)  # the photo may be read-only
        image = image.permute(2, 0, 1).float() / 255
        try:
            with _no_talk_of_autocast():
                out = model.network.infer(
                    image,
                    num_tokens=self.settings.tokens,
                    fov_x=None if fov_x_rad is None else math.degrees(fov_x_rad),
                    # It would only compute x and y from the same z, which `points_of` does.
                    force_projection=False,
                    use_fp16=self.settings.precision == "official" and image.is_cuda,
                )
        except ValueError as error:  # of the solver for shift and focal length
            raise BadInput(
                f"{model.name}: no camera fits its points ({error}): "
                "give --fov, or --set map_points.precision=float32"
            ) from None
        depth, normals = _numpy(out["depth"]), out.get("normal")
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
        focal = float(out["intrinsics"][0, 0])
        if normals is not None:
            normals = _numpy(normals)
            normals[np.isnan(depth)] = np.nan
        return Prediction(depth, focal, normals, model.name, model.metric)


def load(settings: Settings, device: str) -> MoGeMapper:
    """Looks for the folder and the libraries; the network is read at the first photo."""
    folder = _folder(settings)
    for name, remedy in LIBRARIES.items():
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"map_points backend moge needs {name}: {remedy}")
    return MoGeMapper(settings, device, LazyModel("MoGe", partial(_read, folder, device), device))


def estimated_camera(photo: Photo, focal_over_width: float) -> Camera:
    """The centred camera with square pixels of MoGe's normalized focal length fx / W.

    Raises BadInput for a focal length that no camera has.
    """
    width, height = photo.width, photo.height
    focal_px = focal_over_width * width
    K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    try:
        return camera_from_matrix(width, height, K)
    except BadInput:
        raise BadInput(
            f"MoGe's estimate of the focal length, {focal_px:.3g} px for {width} x {height} "
            "pixels, is none that a camera has: give --fov or --camera"
        ) from None


def _folder(settings: Settings) -> Path:
    return weights_folder(settings.weights, settings.model, "map_points")


def _read(folder: Path, device: str) -> MoGe:
    model = load_moge(folder)
    put_on(model.network, device)
    return model


def _check_tokens(tokens: int | None, model: MoGe) -> None:
    low, high = model.tokens_range
    if tokens is not None and not low <= tokens <= high:
        raise BadInput(
            f"map_points.tokens: {model.name} was trained for {low} to {high}, got {tokens}"
        )


def _point_map(prediction: Prediction, camera: Camera, focal_note: str) -> PointMap:
    """The map, with what is worth knowing of it in words."""
    lost = 1 - np.isfinite(prediction.depth).mean()
    unknown = f"{lost:.1%} of the pixels have no depth (sky, or unsure)"
    notes = (prediction.name, focal_note, unknown)
    return PointMap(prediction.depth, camera, prediction.metric, notes, prediction.normals)


def _numpy(tensor: Any) -> Float32:
    return np.array(tensor.float().cpu().numpy(), np.float32)  # a copy that may be written


@contextmanager
def _no_talk_of_autocast() -> Iterator[None]:
    """MoGe asks for float32 autocast on a CPU, which torch declines in words, harmlessly."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*autocast.*")
        yield


BACKEND = MapPointsBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("model", "weights"),
    held=lambda mapper: mapper.model,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (settings.model,),
    weights_folder=lambda settings: settings.weights,
    libraries=LIBRARIES,
)
