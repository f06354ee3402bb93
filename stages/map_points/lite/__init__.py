"""How deep is the scene, and how does the camera look? A small network, on the CPU.

It says which way is up and how long the lens is, and how sure it is of both; the photo's own cues
(rims of round things, upright edges, contacts) are weighed against its word on the pitch. Then,
given the depths that this means for the ground and for blocks of the objects' outlines on it, it
says the depth of everything (`training.points`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.errors import BadInput
from scene.types import Bool, Camera, Float32, Mask, Photo, PointMap
from stages.bundled import Graph, load_graph
from stages.map_points import MapPointsBackend
from stages.map_points.lite.camera import Guess, settled_camera, settled_up
from stages.map_points.lite.depth import ground_of_cells, scene_depth, weighed_with_blocks
from stages.map_points.lite.network import frame_of, network_grid, network_image
from stages.map_points.lite.objects import CHANNELS, network_labels, object_cells

WEIGHTS_FILE = "points.onnx"
WEIGHTS_SHA256 = "1a934d38496daa34d4b3186fe41893c5c1badf3c60320bbc2958baa70d82d12a"


@dataclass(frozen=True)
class Settings:
    """What the map assumes where the photo does not tell it, and when that is so.

    fov_x_deg: horizontal field of view; pitch_deg: angle of the optical axis below the horizontal.
    unsure_focal: spread of the focal length, as a share, and unsure_up_deg: spread of gravity,
    above which the network's word is not taken.
    """

    fov_x_deg: float = 49.0
    pitch_deg: float = 25.0
    unsure_focal: float = 0.4
    unsure_up_deg: float = 20.0

    def __post_init__(self) -> None:
        if not 1 <= self.fov_x_deg <= 170:
            raise BadInput(f"fov_x_deg: expected 1 to 170, got {self.fov_x_deg:g}")
        if not -89 <= self.pitch_deg <= 89:
            raise BadInput(f"pitch_deg: expected -89 to 89, got {self.pitch_deg:g}")
        for name in ("unsure_focal", "unsure_up_deg"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name}: expected more than 0, got {getattr(self, name):g}")


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says: log_depth, valid (rows, columns) and its guess at the camera."""

    log_depth: Float32
    valid: Float32
    guess: Guess


class LiteMap:
    """The network, its weights and the settings."""

    def __init__(self, settings: Settings, graph: Graph) -> None:
        self.settings, self._graph = settings, graph

    def map_points(
        self, photo: Photo, camera: Camera | None, masks: tuple[Mask, ...], file: object | None
    ) -> PointMap:
        """Depth of everything that has one; `file` is for other backends.

        depth (H, W) float32, in heights of the camera above the ground; NaN in the sky.
        """
        if camera is not None and (camera.height, camera.width) != photo.rgb.shape[:2]:
            raise ValueError(f"camera is {camera.height} by {camera.width}, not the photo's size")
        s, longer = self.settings, max(photo.width, photo.height)
        outlines = [_checked(mask, photo) for mask in masks if mask.pixels.any()]
        known = None if camera is None else camera.fx_px / longer
        frame = frame_of(photo.width, photo.height)
        guess = self.guess(photo, known)
        settled, notes = settled_camera(photo, camera, guess, s.fov_x_deg, s.unsure_focal)
        up, words = settled_up(photo, settled, outlines, guess, s.pitch_deg, s.unsure_up_deg)
        ground, focal = ground_of_cells(settled, up, frame), settled.fx_px / longer
        cells = object_cells(network_labels(outlines, frame), ground, up, focal, frame)
        answer = self.ask(photo, known, cells)
        depth = scene_depth(settled, up, answer.log_depth, answer.valid, frame, outlines)
        depth = weighed_with_blocks(depth, settled, up, outlines)
        notes = ["unit: the camera is 1 above the ground", *notes, *words]
        return PointMap(depth, settled, metric=False, notes=tuple(notes), guessed=True)

    def guess(self, photo: Photo, focal: float | None = None) -> Guess:
        """The network's guess at the camera; focal: over the photo's longer side, if known."""
        frame = frame_of(photo.width, photo.height)
        return self.ask(photo, focal, np.zeros((CHANNELS, *frame.cells), np.float32)).guess

    def ask(self, photo: Photo, focal: float | None, cells: Float32) -> Answer:
        """The network's answer; focal: over the photo's longer side, if it is known; cells: see
        `object_cells`; the camera's guess does not depend on them."""
        frame = frame_of(photo.width, photo.height)
        log_depth, valid, up, up_spread, log_focal, focal_spread = self._graph(
            image=network_image(photo.rgb, frame)[None],
            grid=network_grid(frame, focal)[None],
            objects=cells[None],
        )
        guess = Guess(
            up[0].astype(np.float64), float(up_spread[0]), float(np.exp(log_focal[0])),
            float(focal_spread[0]),
        )  # fmt: skip
        return Answer(log_depth[0], valid[0], guess)


def load(settings: Settings, device: str) -> LiteMap:
    """The backend; its network comes with photoscene and runs on the CPU.

    Raises BadWeights where the weights file is not the one that this code was written for.
    """
    return LiteMap(settings, load_graph(WEIGHTS_FILE, WEIGHTS_SHA256))


def _checked(mask: Mask, photo: Photo) -> Bool:
    if mask.pixels.shape != photo.rgb.shape[:2]:
        raise ValueError(f"mask is {mask.pixels.shape}, expected {photo.rgb.shape[:2]}")
    return mask.pixels


BACKEND = MapPointsBackend(
    version="6",
    settings=Settings,
    load=load,
    needs_masks=True,
    weights_sha256=WEIGHTS_SHA256,
    bundled=(WEIGHTS_FILE,),
)
