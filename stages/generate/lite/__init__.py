"""Generate backend `lite`: a small bundled network's layered depth, closed and textured.

The outline is the crop's own, the front the measured one where the point map has it; what the photo
does not show (backs, inner walls, hidden parts, their colours) is what the network has learned of
simple shapes. Without a point map the front is the network's too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from alignment.visible import generator_distance
from scene.errors import BadInput
from scene.types import Float32, ObjectCrop, ObjectMesh, Uint8
from stages.bundled import Network, load_network
from stages.generate import GenerateBackend
from stages.generate.lite.columns import Columns, Surface, surface_of
from stages.generate.lite.fusion import columns_of, covered_cells, network_images
from stages.generate.lite.layered import layers_of, network_input, with_flip_augmentation
from stages.generate.lite.panels import NEAREST_WINS, paint, panel_of_faces, panel_uv, sides_uv
from stages.generate.lite.sides import paint_sides, sides_of

WEIGHTS_SHA256 = "ccd1eff73316930dba0f1b774e58104a4cd505c410ec8869686d2ec584c98afa"
WEIGHTS_FILE = "generator.onnx"
MAX_FACES = 20000
MIN_GRID = 8
HALF_CUBE = 0.5


@dataclass(frozen=True)
class Settings:
    """grid: cells along the crop's side, made coarser where the mesh would have more than 20000
    faces; picture_px: side of the picture that the network sees; depth: whose depth is kept as the
    front, a measured one's or any (what a ground plane guesses as well), or none's: then the
    network's own is."""

    grid: int = 128
    picture_px: int = 64
    depth: Literal["measured", "any", "none"] = "measured"

    def __post_init__(self) -> None:
        if not MIN_GRID <= self.grid <= 256:
            raise BadInput(f"grid: expected {MIN_GRID} to 256, got {self.grid}")
        if not 32 <= self.picture_px <= 256 or self.picture_px % 16:
            raise BadInput(
                f"picture_px: expected a multiple of 16 from 32 to 256, got {self.picture_px}"
            )


@dataclass(frozen=True, eq=False)
class Lite:
    """A generator with small bundled weights."""

    settings: Settings
    network: Network

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The closed mesh of one crop; the seed has nothing to decide here."""
        wanted = self.settings.depth
        if wanted == "none" or wanted == "measured" and not crop.measured:
            crop = replace(crop, depth=np.full_like(crop.depth, np.nan))
        images = network_images(crop, self.settings.picture_px)
        layers = layers_of(with_flip_augmentation(self.network, network_input(images)))
        grid = self.settings.grid
        while True:
            columns = columns_of(crop, layers, images, grid)
            surface = surface_of(columns)
            faces = len(surface.triangles)
            if faces <= MAX_FACES or grid <= MIN_GRID:
                break
            grid = max(MIN_GRID, min(grid - 1, int(grid * (MAX_FACES / faces) ** 0.5)))
        covered = covered_cells(images, layers)
        texture = paint(crop.rgba, layers.back[0], layers.inner[0], covered, columns)
        return _textured_mesh(crop, surface, columns, texture)


def load(settings: Settings, device: str) -> Lite:
    """Read the bundled weights; runs on the CPU whatever the device."""
    return Lite(settings, load_network(WEIGHTS_FILE, WEIGHTS_SHA256))


def _textured_mesh(
    crop: ObjectCrop, surface: Surface, columns: Columns, texture: Uint8
) -> ObjectMesh:
    """Points on their rays in the cube; those on the border of two panels or charts are there
    twice. The texture gets the colours of the charts."""
    size, grid = crop.rgba.shape[0], columns.front.shape[0] - 1
    panel = panel_of_faces(surface, columns)
    sides = sides_of(surface, panel, NEAREST_WINS, grid, size)
    laid = sides.chart >= 0
    region = np.where(laid, len(NEAREST_WINS) + sides.chart, panel)
    keys = surface.triangles * (int(region.max()) + 1) + region[:, None]
    unique, first, faces = np.unique(keys, return_index=True, return_inverse=True)
    point = surface.triangles.ravel()[first]
    pixels = surface.points[point, :2] * (size / grid)
    vertices = _on_rays(crop, surface.points[point], pixels)
    uv = panel_uv(pixels, np.repeat(panel, 3)[first], size)
    if laid.any():
        at_corners = surface.points[surface.triangles[laid], :2] * (size / grid)
        in_panel = panel_uv(at_corners.reshape(-1, 2), np.repeat(panel[laid], 3), size)
        paint_sides(texture, sides.at_px[laid], in_panel)
        aside = np.repeat(laid, 3)[first]
        uv[aside] = sides_uv(sides.at_px.reshape(-1, 2)[first[aside]], size)
    return ObjectMesh(vertices, faces.reshape(-1, 3).astype(np.int32), uv, texture)


def _on_rays(crop: ObjectCrop, points: np.ndarray, pixels: np.ndarray) -> Float32:
    """(P, 3) in the cube, where the network puts them.

    Scaling about the camera keeps every pixel: what a measured front pushes out is centred again.
    """
    camera, distance = crop.camera.camera, generator_distance(crop.camera)
    z = distance + points[:, 2]
    if np.abs(points[:, 2]).max() > HALF_CUBE:
        z = z * (2 * distance / (z.min() + z.max()))
    x = (pixels[:, 0] - camera.cx_px) / camera.fx_px * z
    y = (pixels[:, 1] - camera.cy_px) / camera.fy_px * z
    return np.stack([x, y, z - distance], -1).astype(np.float32)


BACKEND = GenerateBackend(
    version="8",
    settings=Settings,
    load=load,
    loading=(),
    weights_sha256=WEIGHTS_SHA256,
    bundled=(WEIGHTS_FILE,),
)
