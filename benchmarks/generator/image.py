"""What do the shortcuts from a picture to the voxels' features save?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from benchmarks.generator.cases import META, shell
from benchmarks.generator.compare import Comparison, compare
from benchmarks.generator.flops import count
from benchmarks.generator.machine import available_bytes, random_tensor
from pixal3d.camera import PosedCamera, distance_from_fov, front_camera, project_voxels
from pixal3d.cascade import IMAGE_USES, GenerationOptions, encode_images
from pixal3d.dinov3 import DinoV3, DinoV3Config, ImageFeatures
from pixal3d.images import PosedImages
from pixal3d.projection import project_dense, project_features, taps_of
from sparse3d.naf import Guide, NafConfig, attend_at_pixels, attend_everywhere

CHANNELS = 1024  # of DINOv3, and so of NAF's map
IMAGE_SIZE, PATCHES, NAF_SIZE = 1024, 64, 512  # of the fine shape stage
SMALL_NAF_SIZE = 128  # the readable form takes minutes at the full size
FOV_RAD = 0.6
# Others use this machine too: what is left untouched beside the largest measurement.
SPARE_BYTES = 2 << 30
PROJECTION_TOLERANCE, NAF_TOLERANCE = 5e-5, 1e-5


def front_view() -> PosedCamera:
    """A camera in front that has the whole grid in its picture."""
    return PosedCamera(FOV_RAD, front_camera(distance_from_fov(FOV_RAD)))


def compare_projection(grid: int, active: int, device: torch.device) -> Comparison:
    """Both halves of the features, at the active voxels alone and of the whole grid."""
    channels = _channels_that_fit(grid, device)
    coords = shell(grid, active, device).coords[:, 1:].long()
    places = (coords[:, 0] * grid + coords[:, 1]) * grid + coords[:, 2]
    features = _features(channels, device)
    # NAF gives rows of pixels; the whole map has its channels first, as the reference's.
    rows = random_tensor(1, (NAF_SIZE**2, channels), device)
    whole = rows.T.contiguous().unflatten(1, (NAF_SIZE, NAF_SIZE))
    fine = replace(features, patch_map=rows.T.unflatten(1, (NAF_SIZE, NAF_SIZE)))
    view = front_view()
    setting = f"{grid}^3, {active} active, 2 x {channels} channels"
    if channels < CHANNELS:
        setting += f" (of 2 x {CHANNELS}: no memory for the dense one)"
    return compare(
        "projection of active voxels, not of the whole grid",
        setting,
        (
            lambda: project_dense(view, features, grid, upsampled=whole)[places],
            lambda: torch.cat(
                [project_features(view, half, coords, grid) for half in (features, fine)], 1
            ),
        ),
        device,
        PROJECTION_TOLERANCE,
        rounds=1,
    )


def _channels_that_fit(grid: int, device: torch.device) -> int:
    """Official channels, halved until both halves and their concatenation fit into memory."""
    channels = CHANNELS
    while channels > 64:
        dense = 2 * grid**3 * 2 * channels * 4
        maps = 2 * NAF_SIZE**2 * channels * 4
        if dense + maps + SPARE_BYTES <= available_bytes(device):
            break
        channels //= 2
    return channels


def _features(channels: int, device: torch.device) -> ImageFeatures:
    image = random_tensor(2, (3, IMAGE_SIZE, IMAGE_SIZE), device)
    patch_map = random_tensor(3, (channels, PATCHES, PATCHES), device)
    return ImageFeatures(random_tensor(4, (5, channels), device), patch_map, image)


def compare_naf(device: torch.device) -> Comparison:
    """NAF at the pixels under 16384 voxels, and at every pixel of the map, in the same form."""
    guide, features = _guide(NAF_SIZE, device), _features(CHANNELS, device).patch_map
    coords = shell(64, 16384, device).coords[:, 1:].long()
    positions = project_voxels(coords, 64, front_view(), image_size=IMAGE_SIZE)
    pixels = taps_of(positions, (NAF_SIZE, NAF_SIZE)).index.unique()
    everywhere = torch.arange(NAF_SIZE**2, device=device)

    def at(codes: Tensor) -> Tensor:
        return attend_at_pixels(guide, features, codes // NAF_SIZE, codes % NAF_SIZE)

    share = f"{len(pixels)} of {NAF_SIZE**2} pixels"
    return compare(
        "NAF at the pixels under the voxels, not everywhere",
        f"{PATCHES}^2 to {NAF_SIZE}^2, {CHANNELS} channels, {share}",
        (lambda: at(everywhere)[pixels], lambda: at(pixels)),
        device,
        NAF_TOLERANCE,
    )


def compare_naf_forms(device: torch.device) -> Comparison:
    """NAF over a whole small map: tiles that share their windows, and the readable form."""
    guide, features = _guide(SMALL_NAF_SIZE, device), _features(CHANNELS, device).patch_map
    pixels = torch.arange(SMALL_NAF_SIZE**2, device=device)
    rows, columns = pixels // SMALL_NAF_SIZE, pixels % SMALL_NAF_SIZE
    return compare(
        "NAF in tiles, not pixel by pixel",
        f"{PATCHES}^2 to {SMALL_NAF_SIZE}^2, {CHANNELS} channels, all pixels",
        (
            lambda: attend_everywhere(guide, features).flatten(1).T,
            lambda: attend_at_pixels(guide, features, rows, columns),
        ),
        device,
        NAF_TOLERANCE,
        rounds=1,
    )


def _guide(size: int, device: torch.device) -> Guide:
    """What NAF's released sizes say of an image, at random."""
    config = NafConfig()
    return Guide(
        random_tensor(5, (size, size, config.channels), device),
        random_tensor(6, (PATCHES, PATCHES, config.channels), device),
        config.attention_heads,
        config.kernel_size,
    )


def image_passes() -> str:
    """One line: passes of the image encoder, counted, and their FLOPs at official size."""
    stages = [use.image_size for use in IMAGE_USES.values()]
    shared = counted_passes()
    before, after = (
        sum(map(_encoder_flops, sizes)) / 1e12 for sizes in (stages, sorted(set(stages)))
    )
    return (
        f"DINOv3 passes for one picture: {shared} instead of {len(stages)} (one per size, not one "
        f"per stage), {after:.1f} instead of {before:.1f} TFLOP."
    )


def counted_passes() -> int:
    """How often the cascade runs the image encoder for one picture; a tiny encoder tells."""
    encoder = DinoV3(DinoV3Config(channels=16, layers=1, heads=1, mlp_channels=16))
    calls: list[int] = []
    encoder.register_forward_hook(lambda *_: calls.append(1))

    @contextmanager
    def borrow(name: str) -> Iterator[DinoV3]:
        yield encoder

    images = {size: [torch.zeros(3, size, size)] for size in (512, 1024)}
    pictures = PosedImages([front_view()], images)
    encode_images(pictures, borrow, GenerationOptions(), torch.device("cpu"))
    return len(calls)


@cache
def _encoder_flops(image_size: int) -> int:
    with META:
        encoder = DinoV3(DinoV3Config())
        image = torch.zeros(1, 3, image_size, image_size)
    return count(lambda: encoder(image))
