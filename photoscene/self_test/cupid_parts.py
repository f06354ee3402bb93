"""The self-test's parts of CUPID: what its networks compute, and a whole object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from photoscene.self_test.bench import (
    FLOAT_TOLERANCE,
    HALF_TOLERANCE,
    Bench,
    Part,
    Wrong,
    check_close,
    remark,
)
from photoscene.self_test.pixal3d_parts import BAKING, POLICIES, SIDE_PX, TORCH, object_rgba
from scene.cameras import camera_from_fov
from scene.types import CropCamera, ObjectCrop
from stages.backends import Keeping

FOV_RAD, VOXELS = 0.6, 120
Precision = Literal["official", "bfloat16", "float32"]


def adapter(bench: Bench, device: str, precision: Precision) -> Any:
    """The generate backend over the tiny weights."""
    from stages.generate.cupid import BACKEND, Settings

    weights = str(bench.weights("cupid"))
    return BACKEND.load(Settings(precision=precision, weights=weights), device)


def check_networks(bench: Bench) -> str:
    """Encoders, flows and the mesh decoder against the CPU in float32."""
    made = _outputs(bench, bench.device, bench.precision)
    expected = _outputs(bench, "cpu", "float32")
    limits = {"image_encoder": FLOAT_TOLERANCE}
    worst = max(
        check_close(name, (made[name], expected[name]), limits.get(name, HALF_TOLERANCE))
        for name in expected
    )
    half = "bfloat16" if bench.is_cpu else "float16"
    return f"{len(expected)} networks in {half}: {remark(worst)}"


def _outputs(bench: Bench, device: str, precision: Precision) -> dict[str, Any]:
    """What each network makes of the same random input."""
    import torch

    from cupid.context import ImageContext
    from sparse3d.voxels import Voxels

    random = torch.Generator().manual_seed(4)
    _, networks = adapter(bench, device, precision).checkpoint()
    found: dict[str, Any] = {}

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(device)

    codes = torch.randperm(16**3, generator=random)[:VOXELS].sort().values
    coords = torch.stack([0 * codes, codes // 256, codes // 16 % 16, codes % 16], 1)
    voxels, time = Voxels(coords.int().to(device)), torch.tensor([400.0], device=device)
    with torch.inference_mode():
        with networks.borrow("image_encoder") as encoder:
            found["image_encoder"] = encoder(draw(1, 3, 518, 518).sigmoid())
        context = ImageContext(draw(*found["image_encoder"].shape[1:]))
        with networks.borrow("structure_flow") as flow:
            found["structure_flow"] = flow(draw(64, 16), time, flow.prepare([context]))
        with networks.borrow("latent_encoder") as encoder:
            found["latent_encoder"] = encoder(draw(VOXELS, encoder.swin.in_channels), voxels)
        with networks.borrow("latent_flow") as flow:
            beside = draw(VOXELS, flow.config.in_channels + flow.config.condition_channels)
            found["latent_flow"] = flow(beside, time, flow.prepare(voxels, [context]))
        with networks.borrow("mesh_decoder") as decoder:
            found["mesh_decoder"] = decoder(draw(VOXELS, 8), voxels).weights
    return found


def check_whole_object(bench: Bench) -> str:
    """From an image to a posed, textured GLB, the same bytes under both policies of memory; unless
    the device does not repeat its own numbers."""
    kept, visiting = (_whole_object(bench, keeping) for keeping in POLICIES)
    if kept == visiting:
        return f"{len(kept)} bytes of GLB, the same under keep and one_at_a_time"
    if _whole_object(bench, "keep") != kept:
        return f"{len(kept)} bytes of GLB; the device does not repeat its numbers exactly"
    raise Wrong("keep and one_at_a_time made different objects of one image and seed")


def _whole_object(bench: Bench, keeping: Keeping) -> bytes:
    from scene.glb import object_to_glb

    backend = adapter(bench, bench.device, "official")
    settings = replace(backend.settings, memory=keeping, faces=300, texture_px=64)
    camera = CropCamera(camera_from_fov(SIDE_PX, SIDE_PX, FOV_RAD), np.eye(3))
    unknown = np.full((SIDE_PX, SIDE_PX), np.nan, np.float32)
    crop = ObjectCrop(object_rgba(), unknown, camera)
    mesh = replace(backend, settings=settings).generate(crop, 1)
    backend.release()
    return object_to_glb(mesh)


PARTS = (
    Part("CUPID networks", TORCH, check_networks),
    Part("CUPID whole object", BAKING, check_whole_object),
)
