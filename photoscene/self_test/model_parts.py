"""The self-test's parts of the models beside Pixal3D: SAM 3, SAM 2, MoGe and Qwen-Image-Edit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from photoscene.self_test.bench import (
    HALF_TOLERANCE,
    Bench,
    Part,
    Wrong,
    check_close,
    check_uniform,
    remark,
)
from scene.types import ObjectPrompt, Photo, Point, Uint8
from stages.backends import FULL_EXTRA, Offload

FULL: dict[str, str] = dict.fromkeys(("torch", "safetensors", "transformers"), FULL_EXTRA)
EDITOR: dict[str, str] = {**FULL, **dict.fromkeys(("diffusers", "accelerate"), FULL_EXTRA)}
MOGE = "pip install --no-deps -r moge-requirements.txt"
OFFLOADS: tuple[Offload, ...] = ("none", "model", "sequential")
SIDE_PX = 64
# Of what another seed changes: images of random weights are noise, and two steps amplify it.
EDIT_TOLERANCE = 0.35


def photo() -> Photo:
    """(96, 128): two coloured things before a plain ground."""
    rgb = np.full((96, 128, 3), (190, 185, 175), np.uint8)
    rgb[30:80, 20:60], rgb[40:90, 75:115] = (160, 50, 35), (40, 70, 150)
    return Photo(rgb)


def _without_gradients() -> AbstractContextManager[None]:
    import torch

    return torch.no_grad()


def check_sam3_words(bench: Bench) -> str:
    """The encoder's features, and the scores of everything that a word finds."""
    import torch

    made, expected = _sam3(bench, bench.precision, bench.device), _sam3(bench, "float32", "cpu")
    check_uniform(
        "the image encoder", made.detector.vision_encoder.backbone, torch.bfloat16, bench.device
    )
    check_uniform("the words' encoder", made.detector.text_encoder, torch.bfloat16, bench.device)
    check_uniform("the masks' decoder", made.tracker.mask_decoder, torch.float32, bench.device)
    with _without_gradients():
        both = [networks.encode(photo().rgb) for networks in (made, expected)]
        differences = [check_close("the features", [e.features for e in both], HALF_TOLERANCE)]
        scores = [sorted(i.score for i in e.instances("cup", photo(), 0.0)) for e in both]
    differences.append(check_close("the scores of a word", map(np.array, scores), HALF_TOLERANCE))
    return f"bfloat16: {remark(max(differences))}"


def check_sam3_clicks(bench: Bench) -> str:
    """The mask at a click, by the tracker's decoder."""
    made, expected = _sam3(bench, bench.precision, bench.device), _sam3(bench, "float32", "cpu")
    with _without_gradients():
        maps = [networks.encode(photo().rgb).for_clicks for networks in (made, expected)]
        masks = [_clicked(n.tracker, m) for n, m in zip((made, expected), maps, strict=True)]
    return f"bfloat16: {remark(check_close('the mask', masks, HALF_TOLERANCE))}"


def _sam3(bench: Bench, precision: Any, device: str) -> Any:
    from stages.segment.sam3.networks import load_networks

    read = partial(load_networks, bench.weights("sam3"), precision, device)
    return bench.shared(f"sam3 {precision} {device}", read)


def check_sam2(bench: Bench) -> str:
    """The mask at a click."""
    import torch

    from stages.segment.sam2 import load_network

    folder = bench.weights("sam2")
    made = load_network(folder, bench.precision, bench.device)
    expected = load_network(folder, "float32", "cpu")
    check_uniform("the image encoder", made.model.vision_encoder, torch.bfloat16, bench.device)
    with _without_gradients():
        masks = [_clicked(n.model, n.maps_of(photo().rgb)) for n in (made, expected)]
    return f"bfloat16: {remark(check_close('the mask', masks, HALF_TOLERANCE))}"


def _clicked(model: Any, maps: Any) -> Any:
    """Logits of the three candidates at a click."""
    from stages.segment.shared.sam_clicks import decode

    prompt = ObjectPrompt(points=(Point(40, 55),))
    return decode(model, maps, [prompt], photo(), True).logits


def check_moge(bench: Bench) -> str:
    """Depth and focal length of a photo: float16 on CUDA; on a CPU in float64 against float32."""
    import torch

    from photoscene.self_test.tiny_moge import register_backbone
    from stages.map_points.moge import BACKEND, Settings

    register_backbone()
    settings = Settings(weights=str(bench.weights("moge")))
    made, expected = (BACKEND.load(settings, device) for device in (bench.device, "cpu"))
    network = made.model.get().network
    if bench.is_cpu:
        network.double()
    own = torch.float64 if bench.is_cpu else torch.float32
    check_uniform("MoGe", network, own, bench.device)
    here, there = (mapper.map_points(photo(), None, (), None) for mapper in (made, expected))
    known = np.isfinite(here.depth) & np.isfinite(there.depth)
    if known.mean() < 0.9 * np.isfinite(there.depth).mean():
        raise Wrong(f"the depth is known at {known.mean():.0%} of the pixels only")
    differences = [
        check_close("the depth", (here.depth[known], there.depth[known]), HALF_TOLERANCE),
        check_close("the field of view", [m.camera.fov_x_rad for m in (here, there)], 0.02),
    ]
    return f"{'float64' if bench.is_cpu else 'float16'}: {remark(max(differences))}"


def check_editor(offload: Offload, bench: Bench) -> str:
    """An edit of two steps in bfloat16; nothing that is offloaded stays on the device."""
    import torch

    if bench.is_cpu and offload != "none":
        return "on a CPU there is nothing to offload"
    pipeline = _loaded(_weight_files(bench.weights("qwen")), bench.device, offload)
    official = torch.float32 if bench.is_cpu else torch.bfloat16
    for name, network in _networks(pipeline).items():
        types = {p.dtype for p in network.parameters()}
        if types != {official}:
            found = ", ".join(sorted(map(str, types)))
            raise Wrong(f"the editor's {name} is {found}, expected {official}")
    if bench.is_cpu:
        pipeline.to(torch.bfloat16)
    image = _edit(pipeline, 3)
    _check_offloaded(bench, pipeline, offload)

    def on_the_cpu() -> tuple[Uint8, Uint8]:
        plain = _loaded(_weight_files(bench.weights("qwen")), "cpu")
        return _edit(plain, 3), _edit(plain, 4)

    return f"bfloat16: {_relative(image, *bench.shared('edits on the CPU', on_the_cpu))}"


def check_quantised_editor(bench: Bench) -> str:
    """A transformer of a GGUF file made for ComfyUI, and a LoRA, as full_low_vram has them."""
    import torch
    from safetensors.torch import load_file

    from photoscene.self_test.tiny_qwen import edition_of_december, write_gguf, write_lora
    from stages.complete.qwen_edit.pipeline import COMFY_PREFIX, EDITION_MARKER

    folder = edition_of_december(bench.weights("qwen"), bench.folder / "qwen-2511")
    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    named = {f"{COMFY_PREFIX}{name}": value for name, value in weights.items()}
    eight = write_gguf(folder / "eight.gguf", {**named, EDITION_MARKER: torch.zeros(0)})
    lora = write_lora(folder / "lora.safetensors")
    pipeline = _loaded(_weight_files(folder, eight, lora), bench.device, "model")
    image = _edit(pipeline, 3)
    _check_offloaded(bench, pipeline, "model")
    plain = _loaded(_weight_files(folder, None, lora), "cpu")
    return f"eight bits: {_relative(image, _edit(plain, 3), _edit(plain, 4))}"


def _weight_files(folder: Path, transformer: Path | None = None, lora: Path | None = None) -> Any:
    from stages.complete.qwen_edit.pipeline import WeightFiles

    return WeightFiles(folder, transformer, lora)


def _loaded(weights: Any, device: str, offload: Offload = "none") -> Any:
    from stages.complete.qwen_edit.pipeline import load_pipeline

    return load_pipeline(weights, device, offload)


def _networks(pipeline: Any) -> dict[str, Any]:
    import torch

    return {n: p for n, p in pipeline.components.items() if isinstance(p, torch.nn.Module)}


def _check_offloaded(bench: Bench, pipeline: Any, offload: Offload) -> None:
    """Whether the networks are where they belong between two edits."""
    resting = bench.is_cpu or offload != "none"
    for name, part in _networks(pipeline).items():
        places = {p.device.type for p in part.parameters()} - {"meta"}  # of "sequential"
        allowed = {"cpu"} if resting else {bench.device.split(":")[0]}
        if not places <= allowed:
            raise Wrong(f"offload {offload}: the editor's {name} stayed on {', '.join(places)}")


def _edit(pipeline: Any, seed: int) -> Uint8:
    from stages.complete.qwen_edit.pipeline import Sampling, run_pipeline

    how = Sampling(2, 4.0, None, SIDE_PX)
    return run_pipeline(pipeline, photo().rgb[:96, :96], "Show the whole cup.", how, seed)


def _relative(image: Uint8, same: Uint8, other: Uint8) -> str:
    """How far an image is from the CPU's, beside how far the CPU's of another seed is."""
    apart, seeds = (float(np.abs(p.astype(int) - same).mean()) for p in (image, other))
    if apart > EDIT_TOLERANCE * seeds:
        raise Wrong(f"the edit differs from the CPU's by {apart:.1f} of 255 (seeds by {seeds:.1f})")
    return f"{apart:.2g} of 255 from the CPU, where seeds differ by {seeds:.1f}"


PARTS = (
    Part("SAM 3 by words", FULL, check_sam3_words),
    Part("SAM 3 by clicks", FULL, check_sam3_clicks),
    Part("SAM 2.1", FULL, check_sam2),
    Part("MoGe-2", {"torch": FULL_EXTRA, "moge": MOGE, "utils3d": MOGE}, check_moge),
    *(
        Part(f"Qwen-Image-Edit, offload {offload}", EDITOR, partial(check_editor, offload))
        for offload in OFFLOADS
    ),
    Part(
        "Qwen-Image-Edit from GGUF with a LoRA",
        {**EDITOR, "gguf": FULL_EXTRA, "peft": FULL_EXTRA},
        check_quantised_editor,
    ),
)
