"""The self-test's parts of Direct3D-S2: its sparse attention, and whole objects by tiny weights."""

from __future__ import annotations

from functools import partial

import numpy as np

from photoscene.self_test.bench import FLOAT_TOLERANCE, Bench, Part, Wrong, check_close, remark

EXTRA = "pip install -e '.[pixal3d]'"
TORCH: dict[str, str] = dict.fromkeys(("torch", "safetensors"), EXTRA)
SIDE_PX, FOV_RAD, TOKENS = 64, 0.4, 600


def check_attention(bench: Bench) -> str:
    """The fast form on the device beside its twin on the CPU, in float32."""
    import torch

    from direct3d_s2.sparse_attention import (
        AttentionSizes,
        SpatialSparseAttention,
        attend_blocks_by_masks,
        plan_tokens,
    )
    from sparse3d.voxels import Voxels

    sizes = AttentionSizes(64, 4, 2, 4, 4, 100, "v1", 4)  # all blocks: no choice to differ in
    random = torch.Generator().manual_seed(0)
    attention = SpatialSparseAttention(sizes, 2, torch.float32).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    codes = torch.randperm(16**3, generator=random)[:TOKENS]
    coords = torch.stack((codes * 0, codes // 256, codes // 16 % 16, codes % 16), 1).int()
    x = torch.randn(TOKENS, sizes.width, generator=random)

    def computed(device: str) -> torch.Tensor:
        plan = plan_tokens(Voxels(coords.to(device)), sizes, {2})
        return attention.to(device)(x.to(device), plan)

    here = computed(bench.device)
    attention.attend_blocks = attend_blocks_by_masks
    difference = check_close("the attention", (here, computed("cpu")), FLOAT_TOLERANCE)
    return f"float32: {remark(difference)}"


def check_object(name: str, bench: Bench) -> str:
    """One whole object at 512, from a framed image or from a view, on the device."""
    import direct3d_s2
    from direct3d_s2 import Sampler

    rgba = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    rgba[10:50, 16:44] = (180, 90, 40, 255)
    checkpoint = direct3d_s2.open_checkpoint(bench.weights(name))
    size = checkpoint.image_size
    framed = not checkpoint.pixel_aligned
    images = (
        direct3d_s2.framed(rgba, size) if framed else [direct3d_s2.front_view(rgba, FOV_RAD, size)]
    )
    few = {stage: Sampler(1) for stage in ("dense", "sparse_512", "sparse_1024")}
    options = direct3d_s2.GenerationOptions(512, 3, few)
    made = direct3d_s2.generate(images, checkpoint, options, bench.device)
    if not len(made.faces) or not bool(made.vertices.isfinite().all()):
        raise Wrong("no finite surface was made")
    return f"{len(made.faces)} faces"


PARTS = (
    Part("Direct3D-S2 sparse attention", TORCH, check_attention),
    Part("Direct3D-S2 whole object", TORCH, partial(check_object, "direct3d_s2")),
    Part("Direct3D-S2 pixel-aligned object", TORCH, partial(check_object, "direct3d_s2 aligned")),
)
