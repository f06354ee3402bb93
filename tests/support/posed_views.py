"""Posed pictures of one object, as files."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image


def cutout() -> np.ndarray:
    """A coloured ellipse on transparency."""
    y, x = np.mgrid[:120, :160]
    inside = ((x - 80) / 60) ** 2 + ((y - 60) / 40) ** 2 < 1
    colours = np.stack([x, y, x + y, inside * 255], -1)
    return colours.astype(np.uint8)


def orbit(azimuth: float, distance: float) -> list[list[float]]:
    """A camera on a circle around the object, looking at it: NeRF's convention, z up."""
    c, s = math.cos(azimuth), math.sin(azimuth)
    return [
        [c, 0.0, s, distance * s],
        [s, 0.0, -c, -distance * c],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]


def write_rig(folder: Path, azimuths_deg: tuple[float, ...] = (0, 90)) -> Path:
    folder.mkdir(exist_ok=True)
    frames = []
    for number, azimuth in enumerate(azimuths_deg):
        Image.fromarray(cutout()).save(folder / f"{number}.png")
        pose = orbit(math.radians(azimuth), 3.1192)
        frames.append({"file_path": f"{number}.png", "transform_matrix": pose})
    rig = {"camera_angle_x": math.radians(20), "mesh_scale": 1.0, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(rig))
    return folder / "transforms.json"
