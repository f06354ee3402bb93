"""From images to a mesh, with all networks kept on one device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from direct3d_s2.cascade import Generated, GenerationOptions, run_cascade
from direct3d_s2.checkpoints import Checkpoint
from direct3d_s2.images import ObjectImage, View
from direct3d_s2.networks import build_network
from sparse3d.dinov2 import DINOV2_RULES
from sparse3d.lending import Borrow, RuntimeOptions, StepCallback, computing_type, keep_loaded
from sparse3d.weights import SAME_NAMES, load_network


def generate(
    images: ObjectImage | Sequence[View],
    checkpoint: Checkpoint,
    options: GenerationOptions | None = None,
    device: str = "cpu",
    borrow: Borrow | None = None,
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object: from a framed image, or from views by pixel-aligned networks.

    borrow lends the checkpoint's networks on the device; without it each is read when first needed
    and kept. Raises WeightsError for files of other networks, NothingMade for no surface.
    """
    lend = borrow or keep_loaded(partial(load_named, checkpoint, device=device))
    return run_cascade(images, checkpoint, lend, options or GenerationOptions(), device, on_step)


def load_named(
    checkpoint: Checkpoint,
    name: str,
    device: str = "cpu",
    runtime: RuntimeOptions | None = None,
    computing_device: str | None = None,
) -> Any:
    """One network of a checkpoint on a device; computing_device: where it will compute, if it only
    waits on the first one. Raises WeightsError."""
    body_dtype = computing_type(runtime or RuntimeOptions(), computing_device or device)
    rules = DINOV2_RULES if name == "image_encoder" else SAME_NAMES
    return load_network(checkpoint.networks[name], build_network, device, body_dtype, rules)
