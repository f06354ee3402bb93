"""A small photo with three objects, their masks and its depth, and commands upon it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from click.testing import Result
from typer.testing import CliRunner

from photoscene.cli import app
from photoscene.inputs.request import Arguments
from scene.types import Bool, Float32, Uint8

HEIGHT, WIDTH = 180, 240
FOV_X_DEG = 55.0
GRID = 32  # coarse meshes: these tests look at the bookkeeping, not at the shapes
# `inpaint` looks only at what touches the hidden part, so it is known what changes with a mask.
SETTINGS = (f"generate.grid={GRID}", "complete.backend=inpaint")


@dataclass(frozen=True)
class SmallPhoto:
    """The files of a photo with three objects: "a" hides a part of "b", "c" stands far off."""

    photo: Path
    masks: Mapping[str, Path]
    depth: Path

    def arguments(self, masks: Mapping[str, Path] | None = None) -> Arguments:
        """What `photoscene run` is told; `masks` replace those of the same name."""
        files = {**self.masks, **(masks or {})}
        return Arguments(
            self.photo,
            masks=tuple(files.values()),
            settings=SETTINGS,
            fov_x_deg=FOV_X_DEG,
            point_map=self.depth,
        )

    def options(self) -> list[str]:
        """The same on the command line."""
        masks = [part for mask in self.masks.values() for part in ("--mask", str(mask))]
        geometry = ["--pointmap", str(self.depth), "--fov", f"{FOV_X_DEG:g}"]
        return [str(self.photo), *masks, *geometry, *(f"--set={s}" for s in SETTINGS)]


def call(*arguments: object, lines: str = "") -> Result:
    """Run a command in this process, with lines on its standard input."""
    words = [str(a) for a in arguments]
    return CliRunner().invoke(app, words, input=lines, prog_name="photoscene")


def write_small_photo(folder: Path) -> SmallPhoto:
    """Write the photo, its masks and its depth."""
    masks = small_masks()
    files = {name: folder / f"{name}.png" for name in masks}
    for name, mask in masks.items():
        write_mask(files[name], mask)
    cv2.imwrite(str(folder / "photo.png"), small_rgb(masks)[..., ::-1])
    np.save(folder / "depth.npy", small_depth(masks))
    return SmallPhoto(folder / "photo.png", files, folder / "depth.npy")


def write_mask(path: Path, mask: Bool) -> Path:
    """A mask (H, W) as a black and white PNG."""
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


def small_masks() -> dict[str, Bool]:
    """The visible pixels (H, W) of each object: a long box, an egg behind its right end, a ball."""
    a = np.zeros((HEIGHT, WIDTH), bool)
    a[72:122, 20:101] = True
    b = _ellipse((108, 77), (23, 34)) & ~a
    return {"a": a, "b": b, "c": _ellipse((195, 120), (22, 22))}


def small_rgb(masks: Mapping[str, Bool]) -> Uint8:
    """The picture (H, W, 3): three coloured objects with a little texture on a plain floor."""
    rgb = np.full((HEIGHT, WIDTH, 3), 190.0)
    for name, colour in {"a": (200, 60, 40), "b": (50, 90, 190), "c": (60, 150, 70)}.items():
        rgb[masks[name]] = colour
    noise = np.random.default_rng(0).normal(0, 6, rgb.shape)
    return np.rint(rgb + noise).clip(0, 255).astype(np.uint8)


def small_depth(masks: Mapping[str, Bool]) -> Float32:
    """z (H, W) in metres: a floor below a far wall, and bulging objects in front of both."""
    rows = np.arange(HEIGHT, dtype=np.float64)[:, None]
    depth = np.repeat(np.clip(240 / np.maximum(rows - 30, 1), 1.5, 6.0), WIDTH, 1)
    for name, distance in {"a": 2.0, "b": 2.4, "c": 2.2}.items():
        inner = cv2.distanceTransform(masks[name].astype(np.uint8), cv2.DIST_L2, 5)
        bulge = np.sqrt(inner / inner.max())
        depth[masks[name]] = (distance - 0.15 * bulge)[masks[name]]
    return depth.astype(np.float32)


def _ellipse(centre: tuple[int, int], axes: tuple[int, int]) -> Bool:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    return cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1) > 0
