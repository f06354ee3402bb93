"""From posed pictures to a decoded object, with all networks kept on one device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pixal3d.cascade import Borrow, Generated, GenerationOptions, StepCallback, run_cascade
from pixal3d.checkpoints import Checkpoint
from pixal3d.flow import Flow
from pixal3d.images import PosedImages
from pixal3d.weights import load_network
from sparse3d.sparse_conv import Backend, set_convolution
from sparse3d.weights import weights_error

CASCADE_NETWORKS = (
    "image_encoder", "upsampler", "structure_flow", "structure_decoder", "shape_flow_512",
    "shape_flow_1024", "shape_decoder", "texture_flow_1024", "texture_decoder",
)  # fmt: skip


@dataclass(frozen=True)
class RuntimeOptions:
    """How networks run: body_dtype (None: as released), the library of sparse convolutions, and
    whether flows run what is between their matrix products as kernels of `torch.compile`, which
    takes some seconds once per process."""

    body_dtype: torch.dtype | None = None
    convolution: Backend = "torch"
    compiled: bool = False


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
    loaded: dict[str, Any] = {}

    @contextmanager
    def borrow(name: str) -> Iterator[Any]:
        if name not in loaded:
            loaded[name] = load_named(checkpoint, name, device, runtime)
        yield loaded[name]

    return borrow


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


def computing_type(runtime: RuntimeOptions, device: str) -> torch.dtype | None:
    """The type of the networks' bodies, None as released. Unless one is asked for it is float32 on
    a CPU, where half precision is many times slower on most."""
    return torch.float32 if runtime.body_dtype is None and device == "cpu" else runtime.body_dtype
