"""The self-test's parts of Pixal3D: types and places of its networks, and what each computes."""

from __future__ import annotations

import gc
import weakref
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from photoscene.self_test.bench import (
    FLOAT_TOLERANCE,
    HALF_TOLERANCE,
    Bench,
    Part,
    Wrong,
    check_close,
    check_tensors,
    remark,
)
from scene.cameras import camera_from_fov
from scene.types import CropCamera, ObjectCrop, Uint8
from stages.backends import Keeping

if TYPE_CHECKING:
    import torch

    from pixal3d import Checkpoint, GenerationOptions
    from pixal3d.cascade import Job
    from sparse3d.voxels import Voxels
    from stages.generate.pixal3d import Pixal3D

EXTRA = "pip install -e '.[pixal3d]'"
TORCH: dict[str, str] = dict.fromkeys(("torch", "safetensors"), EXTRA)
BAKING: dict[str, str] = {**TORCH, **dict.fromkeys(("fast_simplification", "xatlas"), EXTRA)}
POLICIES: tuple[Keeping, ...] = ("keep", "one_at_a_time")
STEPS, FOV_RAD, SIDE_PX = 2, 0.6, 96
IMAGE_SIZES = (320,)
OBJECT_SEED = 42  # with which the tiny networks make a small object
LATENT_GRID, LATENT_VOXELS = 64, 160


def adapter(
    bench: Bench, device: str, precision: Literal["official", "bfloat16", "float32"]
) -> Pixal3D:
    """The generate backend over the tiny weights."""
    from stages.generate.pixal3d import BACKEND, Settings

    weights = str(bench.weights("pixal3d"))
    return BACKEND.load(Settings(steps=STEPS, precision=precision, weights=weights), device)


def check_policies(bench: Bench) -> str:
    """Under both policies of memory each network has the released types, is on the device while it
    is lent, and under one_at_a_time is nowhere on it afterwards."""
    import torch

    from pixal3d.generation import CASCADE_NETWORKS
    from pixal3d.precision import computing_types

    body = torch.bfloat16 if bench.is_cpu else None
    for keeping in POLICIES:
        loaded = adapter(bench, bench.device, bench.precision).loaded_checkpoint(False)
        lent: dict[str, weakref.ref] = {}
        for name in CASCADE_NETWORKS:
            types = computing_types(loaded.checkpoint.networks[name], body)
            with loaded.networks.borrow(name, keeping) as network:
                tensors = network.state_dict().items()
                check_tensors(f"{keeping}: {name}", tensors, types, bench.device)
                lent[name] = weakref.ref(network)
            del network, tensors
        if keeping == "one_at_a_time":
            gc.collect()
            staying = [name for name, network in lent.items() if _stays(bench, network())]
            if staying:
                where = "main memory" if bench.is_cpu else bench.device
                raise Wrong(f"one_at_a_time: {', '.join(staying)} stayed in {where} after the loan")
    return "types and places under keep and one_at_a_time"


def _stays(bench: Bench, network: torch.nn.Module | None) -> bool:
    """Whether a network that was handed back is still where it computed."""
    if network is None:
        return False
    return bench.is_cpu or any(t.device.type != "cpu" for t in network.state_dict().values())


def check_sparse_convolution(bench: Bench) -> str:
    """Against the readable twin in float32 on the CPU."""
    import torch

    from sparse3d.sparse_conv import convolve, convolve_by_offset

    random = torch.Generator().manual_seed(1)
    voxels = _voxels(12, 500, "cpu")
    features = torch.randn(len(voxels.coords), 24, generator=random)
    weight = torch.randn(16, 3, 3, 3, 24, generator=random) / (24 * 13) ** 0.5
    bias = torch.randn(16, generator=random)
    expected = convolve_by_offset(features, voxels.neighbours, weight, bias)
    there = _voxels(12, 500, bench.device)
    worst = 0.0
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        here, kernel, shift = (t.to(bench.device, dtype) for t in (features, weight, bias))
        made = convolve(here, there, kernel, shift, chunk_bytes=1 << 16)
        limit = FLOAT_TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE
        worst = max(worst, check_close(f"sparse convolution in {dtype}", (made, expected), limit))
    return f"float32, float16, bfloat16: {remark(worst)}"


def check_spconv(bench: Bench) -> str:
    """The same by spconv, in float32."""
    import torch

    from sparse3d.sparse_conv import SparseConv, set_convolution

    torch.manual_seed(1)
    layer = SparseConv(24, 16).requires_grad_(False)
    voxels = _voxels(12, 500, "cpu")
    features = torch.randn(len(voxels.coords), 24)
    expected = layer(features, voxels)
    set_convolution(layer, "spconv", bench.device)
    made = layer.to(bench.device)(features.to(bench.device), _voxels(12, 500, bench.device))
    return remark(check_close("spconv", (made, expected), FLOAT_TOLERANCE))


def _voxels(side: int, count: int, device: str) -> Voxels:
    """Random voxels of a grid, in the order of their coordinates."""
    import torch

    from sparse3d.voxels import Voxels

    random = torch.Generator().manual_seed(3)
    codes = torch.randperm(side**3, generator=random)[:count].sort().values
    xyz = torch.stack([codes // side**2, codes // side % side, codes % side], 1)
    coords = torch.cat([torch.zeros_like(xyz[:, :1]), xyz], 1).int()
    return Voxels(coords.to(device))


def object_rgba() -> Uint8:
    """(96, 96, 4): a coloured disc with a darker half, on transparency."""
    v, u = np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5
    rgba = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    rgba[np.hypot(u - 48, v - 48) < 40] = (200, 80, 40, 255)
    rgba[:, 48:, :3] //= 2
    return rgba


def job(bench: Bench, device: str, precision: Literal["official", "bfloat16", "float32"]) -> Job:
    """A generation with the networks of a device, its image encoded."""
    import torch

    from pixal3d import from_crop
    from pixal3d.cascade import Job, encode_images

    backend = adapter(bench, device, precision)
    loaded = backend.loaded_checkpoint(False)
    options = _options(backend, loaded.checkpoint, 1)
    images = from_crop(object_rgba(), FOV_RAD, IMAGE_SIZES)
    where = torch.device(device)
    with torch.inference_mode():
        features = encode_images(images, loaded.networks.borrow, options, where)
    random = torch.Generator().manual_seed(5)
    return Job(
        images, loaded.checkpoint, loaded.networks.borrow, options, where, random, features, _silent
    )


def _options(backend: Pixal3D, checkpoint: Checkpoint, seed: int) -> GenerationOptions:
    """Few steps, and small images: as many patches across as NAF's window has."""
    from dataclasses import replace

    from pixal3d.cascade import IMAGE_USES, ImageUse
    from stages.generate.pixal3d import generation_options

    (size,) = IMAGE_SIZES
    uses = {n: ImageUse(size, None if u.naf_size is None else size) for n, u in IMAGE_USES.items()}
    return replace(generation_options(backend.settings, seed, checkpoint), image_uses=uses)


def _silent(name: str, done: int, steps: int) -> None:
    """Steps that nobody watches."""


def _both(bench: Bench) -> tuple[Job, Job]:
    """The generation on the device, and on the CPU in float32."""
    made = bench.shared("job", lambda: job(bench, bench.device, bench.precision))
    return made, bench.shared("job on the CPU", lambda: job(bench, "cpu", "float32"))


def check_image_encoder(bench: Bench) -> str:
    """DINOv3's features of both sizes of the picture."""
    made, expected = _both(bench)
    worst = 0.0
    for size, features in made.features.items():
        for part in ("global_tokens", "patch_map"):
            pair = [getattr(job[0], part) for job in (features, expected.features[size])]
            worst = max(worst, check_close(f"{part} at {size} px", pair, FLOAT_TOLERANCE))
    return f"float32: {remark(worst)}"


def check_projection(bench: Bench) -> str:
    """NAF's features at the voxels' pixels."""
    import torch

    from pixal3d.cascade import project_conditioning

    projected = []
    with torch.inference_mode():
        for each in _both(bench):
            voxels = _voxels(LATENT_GRID, LATENT_VOXELS, str(each.device))
            projected.append(project_conditioning(each, "texture_1024", voxels, LATENT_GRID))
    worst = check_close("the projection", [p.projected for p in projected], FLOAT_TOLERANCE)
    return f"float32: {remark(worst)}"


def check_flow(name: str, kind: str, stage: str, bench: Bench) -> str:
    """Two guided steps of a flow from the same noise."""
    import torch

    from pixal3d.cascade import STRUCTURE_GRID, project_conditioning, sample_flow
    from sparse3d.voxels import full_grid

    is_structure, is_texture = kind == "structure", kind == "texture"
    random = torch.Generator().manual_seed(9)
    rows = STRUCTURE_GRID**3 if is_structure else LATENT_VOXELS
    noise = torch.randn(rows, 8 if is_structure else 32, generator=random)
    beside = torch.randn(rows, 32, generator=random) if is_texture else None
    latents = []
    with torch.inference_mode():
        for each in _both(bench):
            grid = STRUCTURE_GRID if is_structure else LATENT_GRID
            if is_structure:
                voxels = full_grid(1, grid, each.device)
            else:
                voxels = _voxels(grid, rows, str(each.device))
            conditioning = project_conditioning(each, stage, voxels, grid)
            concatenated = None if beside is None else beside.to(each.device)
            latents.append(
                sample_flow(
                    each, name, kind, noise.to(each.device), voxels, conditioning, concatenated,
                    unbiased_spread=is_structure,
                )
            )  # fmt: skip
    return f"bfloat16: {remark(check_close('the latents', latents, HALF_TOLERANCE))}"


def check_decoder(name: str, bench: Bench) -> str:
    """A decoder's output from the same latents; the shape's subdivisions serve both textures."""
    import torch

    from pixal3d.cascade import STRUCTURE_GRID

    random = torch.Generator().manual_seed(11)
    if name == "structure_decoder":
        latent = torch.randn(1, 8, *(STRUCTURE_GRID,) * 3, generator=random)
    else:
        latent = torch.randn(LATENT_VOXELS, 32, generator=random)
    outputs: list[Any] = []
    with torch.inference_mode():
        for each in _both(bench):
            device = str(each.device)
            with each.borrow(name) as decoder:
                given: list[Any] = [latent.to(each.device)]
                if name != "structure_decoder":
                    given.append(_voxels(LATENT_GRID, LATENT_VOXELS, device))
                if name == "texture_decoder":
                    given.append([s.to(each.device) for s in _subdivisions(bench)])
                made = decoder(*given)
            outputs.append(made.subdivisions[0] if name == "shape_decoder" else made)
    half = "bfloat16" if bench.is_cpu else "float16"
    return f"{half}: {remark(check_close('what is decoded', outputs, HALF_TOLERANCE))}"


def _subdivisions(bench: Bench) -> list[torch.Tensor]:
    """The shape decoder's, on the CPU."""
    import torch

    def decode() -> list[torch.Tensor]:
        random = torch.Generator().manual_seed(11)
        latent = torch.randn(LATENT_VOXELS, 32, generator=random)
        with _both(bench)[1].borrow("shape_decoder") as decoder:
            return list(decoder(latent, _voxels(LATENT_GRID, LATENT_VOXELS, "cpu")).subdivisions)

    return bench.shared("subdivisions", decode)


def check_whole_object(bench: Bench) -> str:
    """From an image to a textured GLB, the same bytes under both policies of memory; unless the
    device does not repeat its own numbers, which is no fault of a policy."""
    kept, visiting = (_whole_object(bench, keeping) for keeping in POLICIES)
    if kept == visiting:
        return f"{len(kept)} bytes of GLB, the same under keep and one_at_a_time"
    if _whole_object(bench, "keep") != kept:
        return f"{len(kept)} bytes of GLB; the device does not repeat its numbers exactly"
    raise Wrong("keep and one_at_a_time made different objects of one image and seed")


def _whole_object(bench: Bench, keeping: Keeping) -> bytes:
    from dataclasses import replace

    from scene.glb import object_to_glb

    backend = adapter(bench, bench.device, "official")
    settings = replace(backend.settings, memory=keeping, steps=1, faces=300, texture_px=64)
    camera = CropCamera(camera_from_fov(SIDE_PX, SIDE_PX, FOV_RAD), np.eye(3))
    unknown = np.full((SIDE_PX, SIDE_PX), np.nan, np.float32)
    crop = ObjectCrop(object_rgba(), unknown, camera)
    mesh = replace(backend, settings=settings).generate(crop, OBJECT_SEED)
    backend.release()
    return object_to_glb(mesh)


def check_compiled(bench: Bench) -> str:
    """A flow through torch.compile, against itself without."""
    from dataclasses import replace

    import torch

    from pixal3d import RuntimeOptions, load_named
    from pixal3d.cascade import project_conditioning, sample_flow

    made, _ = _both(bench)
    flow = load_named(made.checkpoint, "shape_flow_512", bench.device, RuntimeOptions())
    lend: Any = partial(_lent, flow)
    random = torch.Generator().manual_seed(9)
    noise = torch.randn(LATENT_VOXELS, 32, generator=random).to(bench.device)
    latents = []
    voxels = _voxels(LATENT_GRID, LATENT_VOXELS, bench.device)
    with torch.inference_mode():
        conditioning = project_conditioning(made, "shape_512", voxels, LATENT_GRID)
        for compiled in (False, True):
            if compiled:
                flow.compile_steps()
            lending = replace(made, borrow=lend)
            latents.append(
                sample_flow(lending, "shape_flow_512", "shape", noise, voxels, conditioning)
            )
    return remark(check_close("the compiled flow", latents[::-1], HALF_TOLERANCE))


def _lent(network: Any, name: str) -> AbstractContextManager[Any]:
    return nullcontext(network)


def _flow(name: str, kind: str, stage: str) -> Part:
    return Part(f"Pixal3D {name}", TORCH, partial(check_flow, name, kind, stage))


PARTS = (
    Part("Pixal3D networks", TORCH, check_policies),
    Part("sparse convolution", TORCH, check_sparse_convolution),
    Part(
        "sparse convolution by spconv",
        {
            **TORCH,
            "spconv": "pip install spconv-cuXXX (XXX: the version of CUDA; spconv for a CPU)",
        },
        check_spconv,
    ),
    Part("Pixal3D image_encoder", TORCH, check_image_encoder),
    Part("Pixal3D upsampler", TORCH, check_projection),
    _flow("structure_flow", "structure", "structure"),
    _flow("shape_flow_512", "shape", "shape_512"),
    _flow("shape_flow_1024", "shape", "shape_1024"),
    _flow("texture_flow_1024", "texture", "texture_1024"),
    *(
        Part(f"Pixal3D {name}", TORCH, partial(check_decoder, name))
        for name in ("structure_decoder", "shape_decoder", "texture_decoder")
    ),
    Part(
        "Pixal3D compiled flow",
        {**TORCH, "triton": "torch's build for CUDA brings it"},
        check_compiled,
    ),
    Part("Pixal3D whole object", BAKING, check_whole_object),
)
