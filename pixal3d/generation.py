"""From posed pictures to a decoded object, with all networks kept on one device."""

from __future__ import annotations

from functools import partial
from typing import Any

from pixal3d.cascade import Generated, GenerationOptions, run_cascade
from pixal3d.checkpoints import Checkpoint
from pixal3d.flow import Flow
from pixal3d.images import PosedImages
from pixal3d.weights import load_network
from sparse3d import lending
from sparse3d.lending import Borrow, RuntimeOptions, StepCallback, computing_type
from sparse3d.sparse_conv import set_convolution
from sparse3d.weights import weights_error

CASCADE_NETWORKS = (
    "image_encoder", "upsampler", "structure_flow", "structure_decoder", "shape_flow_512",
    "shape_flow_1024", "shape_decoder", "texture_flow_1024", "texture_decoder",
)  # fmt: skip


def generate(
    posed_images: PosedImages,
    checkpoint: Checkpoint,
    options: GenerationOptions | None = None,
    device: str = "cpu",
    borrow: Borrow | None = None,
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object from its pictures.

    borrow lends the checkpoint's networks on the device; without it each is read when first wanted
    and kept. Same pictures, request and device give the same object. Raises WeightsError for a
    checkpoint that lacks a network, NothingMade when no structure is predicted.
    """
    check_complete(checkpoint)
    lend = borrow or keep_loaded(checkpoint, device)
    return run_cascade(
        posed_images, checkpoint, lend, options or GenerationOptions(), device, on_step
    )


def check_complete(checkpoint: Checkpoint) -> None:
    """WeightsError unless every network of the cascade is there."""
    missing = [name for name in CASCADE_NETWORKS if name not in checkpoint.networks]
    if missing:
        raise weights_error(f"the weights in {checkpoint.folder} lack {', '.join(missing)}")


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

    computing_device: where it will compute, if it only waits on the first one. Raises WeightsError,
    also for flows without a projection (TRELLIS.2), which cannot follow a picture's pixels;
    ImportError for a convolution library that is missing, and CannotRun for one that cannot compute
    there.
    """
    runtime = runtime or RuntimeOptions()
    computing_device = computing_device or device
    source = checkpoint.networks[name]
    network = load_network(source, device, computing_type(runtime, computing_device))
    if isinstance(network, Flow):
        if network.config.projected_channels is None:
            raise weights_error(
                f"{source.file} has no projection (TRELLIS.2): "
                "generation needs the weights of TencentARC/Pixal3D"
            )
        if runtime.compiled:
            network.compile_steps()
    set_convolution(network, runtime.convolution, computing_device)
    return network
