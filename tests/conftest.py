"""What several tests share: a small photo with known masks and depth, and one Prefect server."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from extras import missing
from typer.testing import CliRunner

from photoscene.cli import app
from photoscene.inputs import Arguments
from scene.types import Bool, Float32, Uint8

# Tests run side by side, and threads that wait for a core spin; commands started here inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"  # read when Prefect is imported
for name in ("PREFECT_API_URL", "PHOTOSCENE_STORE"):
    os.environ.pop(name, None)

HEIGHT, WIDTH = 180, 240
FOV_X_DEG = 55.0
GRID = 32  # coarse meshes: these tests look at the bookkeeping, not at the shapes


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
            settings=(f"generate.grid={GRID}",),
            fov_x_deg=FOV_X_DEG,
            point_map=self.depth,
        )

    def options(self) -> list[str]:
        """The same on the command line."""
        masks = [part for mask in self.masks.values() for part in ("--mask", str(mask))]
        geometry = ["--pointmap", str(self.depth), "--fov", f"{FOV_X_DEG:g}"]
        return [str(self.photo), *masks, *geometry, "--set", f"generate.grid={GRID}"]


def call(*arguments: object, lines: str = "") -> Result:
    """Run a command in this process, with lines on its standard input."""
    words = [str(a) for a in arguments]
    return CliRunner().invoke(app, words, input=lines, prog_name="photoscene")


@pytest.fixture(scope="session")
def small_photo(tmp_path_factory: pytest.TempPathFactory) -> SmallPhoto:
    """The small photo; its files are shared by all tests and must be left as they are."""
    folder = tmp_path_factory.mktemp("small_photo")
    masks = small_masks()
    files = {name: folder / f"{name}.png" for name in masks}
    for name, mask in masks.items():
        write_mask(files[name], mask)
    cv2.imwrite(str(folder / "photo.png"), small_rgb(masks)[..., ::-1])
    np.save(folder / "depth.npy", small_depth(masks))
    return SmallPhoto(folder / "photo.png", files, folder / "depth.npy")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The URL of one private server that all tests of the flow use."""
    from flows.server import prefect_api

    with prefect_api() as url:
        yield url


@pytest.fixture(scope="module")
def inline_runs() -> Iterator[None]:
    """Runs of this module carry out their steps in this process, one after the other.

    For tests of what comes out, whoever runs the steps: an orchestrator costs more than they do.
    """
    from inline import run_inline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.server.prefect_api", nullcontext)
        patch.setattr("flows.reconstruct.run_flow", run_inline)
        yield


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose extra is missing."""
    for mark in item.iter_markers("extra"):
        if remedy := missing(mark.args[0]):
            pytest.skip(remedy)


def pytest_collection_finish() -> None:
    """What was imported by now stays: no collector needs to walk over it again and again."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    beside = Path(__file__).parents[2] / "shared" / "parity"
    parser.addoption("--parity", default=str(beside), help="folder of golden fixtures")
