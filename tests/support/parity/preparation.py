"""What comes before and between the networks: the framed picture, and the cascade's finer grid."""

from __future__ import annotations

import torch

from pixal3d.cascade import finer_cells, finer_nodes
from pixal3d.preprocess import crop_to_object
from support.parity.fixture import Fixture


def preprocess(fixture: Fixture) -> None:
    """On black and on the background colours that the outputs are named after."""
    rgba = fixture.input("rgba").numpy()
    for name in fixture.outputs:
        background = (0, 0, 0)
        if "_bg_" in name:
            red, green, blue = (int(v) for v in name.split("_bg_")[1].split("_"))
            background = (red, green, blue)
        fixture.compare(name, torch.from_numpy(crop_to_object(rgba, background)))


def cascade(fixture: Fixture) -> None:
    """Both rules of the finer grid, at every resolution that the outputs are named after."""
    coords = fixture.input("hr_coords")
    rules = {"pixal3d": finer_nodes, "trellis2": finer_cells}
    for name in fixture.outputs:
        rule, resolution = name.rsplit("_", 1)
        fixture.compare(name, rules[rule](coords, int(resolution)))


CHECKS = {
    "Pixal3DImageTo3DPipeline.preprocess_image": preprocess,
    "Pixal3DImageTo3DPipeline.run": cascade,
}
