"""From pictures of one object to it, decoded, with all networks kept on one device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from cupid.cascade import Generated, GenerationOptions, run_cascade
from cupid.checkpoints import Checkpoint
from cupid.images import ObjectImage
from cupid.networks import build_network
from sparse3d import lending
from sparse3d.dinov2 import DINOV2_RULES
from sparse3d.lending import Borrow, RuntimeOptions, StepCallback, computing_type
from sparse3d.sparse_conv import set_convolution
from sparse3d.weights import SAME_NAMES, load_network


def generate(
    images: ObjectImage | Sequence[ObjectImage],
    checkpoint: Checkpoint,
    options: GenerationOptions | None = None,
    device: str = "cpu",
    borrow: Borrow | None = None,
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object from its picture, or from several that show it from other sides.

    borrow lends the checkpoint's networks on the device; without it each is read when first wanted
    and kept. Same pictures, request and device give the same object. Raises WeightsError for
    weights that do not fit, NothingMade when no structure, pose or surface is found.
    """
    lend = borrow or keep_loaded(checkpoint, device)
    views = [images] if isinstance(images, ObjectImage) else images
    return run_cascade(views, checkpoint, lend, options or GenerationOptions(), device, on_step)


def keep_loaded(
    checkpoint: Checkpoint, device: str = "cpu", runtime: RuntimeOptions | None = None
) -> Borrow:
    """Lend a checkpoint's networks, each read when first wanted and kept on the device."""
    return lending.keep_loaded(partial(load_named, checkpoint, device=device, runtime=runtime))


def load_named(
    checkpoint: Checkpoint,
    name: str,
    device: str = "cpu",
    runtime: RuntimeOptions | None = None,
    computing_device: str | None = None,
) -> Any:
    """One network of a checkpoint on a device.

    computing_device: where it will compute, if it only waits on the first one. Raises WeightsError;
    ImportError for a convolution library that is missing, and CannotRun for one that cannot compute
    there.
    """
    runtime = runtime or RuntimeOptions()
    computing_device = computing_device or device
    rules = DINOV2_RULES if name == "image_encoder" else SAME_NAMES
    body_dtype = computing_type(runtime, computing_device)
    source = checkpoint.networks[name]
    network = load_network(source, build_network, device, body_dtype, rules)
    set_convolution(network, runtime.convolution, computing_device)
    return network
