"""Make the small fixtures in tests/data/direct3d: what the public code answers to random weights.

    python tests/direct3d_s2/make_fixtures.py PUBLIC_REPOSITORY

The repository is DreamTechAI/Direct3D-S2 at commit a1cf235. Its modules run unmodified on a CPU but
for these stand-ins, none of which uses our packages: torchsparse's submanifold convolution (a loop
over taps, x fastest), flash_attn (exact softmax attention), the two Triton kernels of the sparse
attention (masks), skimage (keeps the volume that it is given). The refiners' `run` has its sizes
written in it: its source is executed with all of them divided by 8 or 16. Weights are not stored
but drawn by name (`support.parity.fixture.drawn_weights`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TESTS = Path(__file__).resolve().parents[1]
OUT = TESTS / "data" / "direct3d"
REFINER_WIDTHS = (8, 8, 12, 16)
CENTRE, RADIUS, TRUNCATION = (31.5, 30.0, 33.0), 18.5, 8.0  # of the ball that refiners get
volumes: list[Any] = []  # what marching cubes was called with


class SparseTensor:
    """torchsparse.SparseTensor: rows and their places."""

    def __init__(self, feats: Tensor, coords: Tensor, **_: Any) -> None:
        self.F, self.C, self.coords = feats, coords, coords
        self.stride, self.spatial_range, self._caches = 1, None, None


class Conv3d(nn.Module):
    """torchsparse.nn.Conv3d with stride 1."""

    def __init__(self, inputs: int, outputs: int, size: int, *_: Any) -> None:
        super().__init__()
        shape = (inputs, outputs) if size == 1 else (size**3, inputs, outputs)
        self.kernel = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.out_channels, self.stride = outputs, (1, 1, 1)

    def forward(self, x: SparseTensor) -> SparseTensor:
        if self.kernel.ndim == 2:
            return SparseTensor(x.F @ self.kernel + self.bias, x.C)
        rows = {tuple(c): i for i, c in enumerate(x.C.tolist())}
        total = self.bias.expand(len(x.F), -1).clone()
        for tap in range(27):
            step = (tap % 3 - 1, tap // 3 % 3 - 1, tap // 9 - 1)
            pairs = [
                (i, rows[there])
                for (b, *at), i in rows.items()
                if (there := (b, *(a + s for a, s in zip(at, step, strict=True)))) in rows
            ]
            if pairs:
                here, neighbours = torch.tensor(pairs).T
                total = total.index_add(0, here, x.F[neighbours] @ self.kernel[tap])
        return SparseTensor(total, x.C)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """q (N, H, d), k and v (M, K, d), mask (H, N, M): output (N, H, d), log-sum-exp (H, N)."""
    group = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(group, 1) for t in (k, v))
    logits = torch.einsum("nhd,mhd->hnm", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return torch.einsum("hnm,mhd->nhd", logits.softmax(-1), v), logits.logsumexp(-1)


def varlen(q, k, v, ends_q, ends_k, *_: Any, return_attn_probs: bool = False, **__: Any) -> Any:
    parts = [
        attend(q[a:b], k[c:d], v[c:d])
        for a, b, c, d in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False)
    ]
    output = torch.cat([p[0] for p in parts])
    return (output, torch.cat([p[1] for p in parts], 1), None) if return_attn_probs else output


def qkv_varlen(qkv: Tensor, ends: Tensor, *_: Any) -> Tensor:
    return varlen(*qkv.unbind(1), ends, ends)


def block_scores(q, k, lse, resolution, stride, size, topk, ends, ends_k, *_: Any) -> Any:
    """In place of get_block_score: summed probabilities, the best blocks, as masks of tokens."""
    readable = []
    for a, b, c, d in zip(ends, ends[1:], ends_k, ends_k[1:], strict=False):
        keys = k.feats[c:d].repeat_interleave(q.feats.shape[1] // k.feats.shape[1], 1)
        logits = torch.einsum("nhd,mhd->hnm", q.feats[a:b], keys) / keys.shape[-1] ** 0.5
        weights = (logits - lse[:, a:b, None]).exp().unflatten(0, (k.feats.shape[1], -1)).sum(1)
        blocks, owner = (k.coords[c:d, 1:] * stride // size).unique(dim=0, return_inverse=True)
        scores = torch.zeros(*weights.shape[:2], len(blocks)).index_add(2, owner, weights)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        chosen.scatter_(2, scores.topk(min(topk, len(blocks)), -1).indices, True)
        mine = (q.coords[a:b, None, 1:] // size == blocks).all(-1).float().argmax(-1)
        readable.append(chosen[:, :, mine])
    return readable, None, None


def selection(q, k, v, readable, *rest: Any) -> Tensor:
    """In place of spatial_selection_attention."""
    ends, group = rest[3], q.shape[1] // k.shape[1]
    parts = [
        attend(q[a:b], k[a:b], v[a:b], mask.repeat_interleave(group, 0))[0]
        for a, b, mask in zip(ends, ends[1:], readable, strict=False)
    ]
    return torch.cat(parts)


def install_stand_ins() -> None:
    def module(name: str, **contents: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__dict__.update(contents)
        sys.modules[name] = made
        return made

    utils = module("torchsparse.utils", make_ntuple=lambda v, ndim: (v,) * ndim)
    layers = module("torchsparse.nn", Conv3d=Conv3d)
    module("torchsparse", SparseTensor=SparseTensor, nn=layers, utils=utils)
    module(
        "flash_attn", flash_attn_varlen_func=varlen, flash_attn_varlen_qkvpacked_func=qkv_varlen,
        flash_attn_varlen_kvpacked_func=lambda q, kv, *ends: varlen(q, *kv.unbind(1), *ends),
    )  # fmt: skip
    module("einops", rearrange=lambda x, pattern: x.flatten(1))  # "n h d -> n (h d)" alone
    measure = module("skimage.measure", marching_cubes=_keep_volume)
    module("skimage", measure=measure)
    sys.modules["direct3d_s2.modules.sparse.attention.spatial_sparse_attention.ops"] = module(
        "direct3d_s2.modules.sparse.attention.spatial_sparse_attention.ops",
        spatial_selection_attention=selection, get_block_score=block_scores,
        sparse_window_attention=None,
    )  # fmt: skip


def _keep_volume(volume: Any, *_: Any, **__: Any) -> Any:
    volumes.append(torch.as_tensor(volume))
    return torch.zeros(3, 3).numpy(), torch.zeros(1, 3).long().numpy(), None, None


def draw(network: nn.Module, part: str = "") -> dict[str, list[int]]:
    """Give a network the weights that are drawn for the names below `part`; their shapes."""
    from support.parity.fixture import drawn_weights

    state = network.state_dict()
    shapes = {n.removeprefix(part): list(t.shape) for n, t in state.items() if n.startswith(part)}
    fixed = {n for n in shapes if n == "pos_emb"}
    drawn = drawn_weights({n: s for n, s in shapes.items() if n not in fixed})
    network.load_state_dict({f"{part}{n}": t for n, t in drawn.items()}, strict=False)
    return {n: s for n, s in shapes.items() if n not in fixed}


def write(name: str, kind: str, arguments: dict, shapes: dict, tensors: dict, **more: Any) -> None:
    file = OUT / f"{name}.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, file)
    described = {
        "file": file.name, "upstream_class": kind, "commit": COMMIT, "made_by": Path(__file__).name,
        "constructor_kwargs": arguments, "drawn_weights": shapes,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **more,
    }  # fmt: skip
    (OUT / f"{name}.json").write_text(json.dumps(described, indent=1) + "\n", "utf-8")


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ball(side: int, radius: float, width: float, centre: tuple[float, ...]) -> Tensor:
    """Voxels (N, 4) int32 near a sphere."""
    axis = torch.arange(side)
    cells = torch.cartesian_prod(axis, axis, axis)
    off = (cells - torch.tensor(centre)).norm(dim=1) - radius
    return torch.nn.functional.pad(cells[off.abs() < width].int(), (1, 0))


def dense_decoder() -> None:
    from direct3d_s2.models.autoencoders.dense_vae import DenseShapeVAE

    arguments = {
        "embed_dim": 4, "model_channels_encoder": [8, 8], "model_channels_decoder": [16, 8, 8],
        "num_res_blocks_encoder": 1, "num_res_blocks_middle_encoder": 1,
        "num_res_blocks_decoder": 2, "num_res_blocks_middle_decoder": 1,
    }  # fmt: skip
    vae = DenseShapeVAE(**arguments).eval()
    shapes, latent = draw(vae, "decoder."), random(1, 4, 3, 3, 3, seed=1)
    index = vae.decode_mesh(latent, mc_threshold=0.1, return_index=True)[0]
    tensors = {"inputs/latent": latent, "outputs/logits": vae.decoder(latent)}
    tensors["outputs/index"] = index.byte()
    write("direct3d_dense_decoder", "DenseShapeVAE", arguments, shapes, tensors)


def sdf_decoder(name: str, coords: Tensor, resolution: int, chunks: int) -> None:
    from direct3d_s2.models.autoencoders.ss_vae import SparseSDFVAE
    from direct3d_s2.modules import sparse as sp

    arguments = {
        "embed_dim": 4, "resolution": resolution, "model_channels_encoder": 512,
        "num_blocks_encoder": 0, "model_channels_decoder": 64, "num_blocks_decoder": 2,
        "num_heads_decoder": 4, "chunk_size": chunks,
    }  # fmt: skip
    vae = SparseSDFVAE(**arguments).eval()
    shapes, latent = draw(vae, "decoder."), random(len(coords), 4, seed=2)
    tensors = {"inputs/coords": coords, "inputs/latent": latent}
    if chunks == 1:
        made, wide = vae.decoder(sp.SparseTensor(latent, coords), 1.0, return_feat=True)
        order = _lexicographic(wide.coords)
        tensors["outputs/features"] = wide.feats[order][::16]
    else:
        made = vae.decoder(sp.SparseTensor(latent, coords), 1.0)
    # Chunks overlap: of the values of one place the last one is taken, as densifying does.
    found = {tuple(c): v for c, v in zip(made.coords.tolist(), made.feats[:, 0], strict=True)}
    tensors["outputs/values"] = torch.stack([found[c] for c in sorted(found)])[
        :: 1 if chunks == 1 else 4
    ]
    write(name, "SparseSDFVAE", arguments, shapes, tensors, value_stride=1 if chunks == 1 else 4)


def _lexicographic(coords: Tensor) -> Tensor:
    codes = ((coords[:, 0].long() * 4096 + coords[:, 1]) * 4096 + coords[:, 2]) * 4096
    return (codes + coords[:, 3]).argsort()


def refiner(name: str, kind: str, divisor: int, channels: int) -> None:
    """Run a refiner with every size in its source divided; 64^3 values of a ball's shell."""
    from direct3d_s2.models.refiner import unet_refiner
    from direct3d_s2.modules import sparse as sp

    unet_refiner.UNet3DModel = _with_widths(unet_refiner.UNet3DModel)
    side, patch = {8: (64, 24), 16: (32, 16)}[divisor]
    arguments: dict[str, Any] = {"res": side, "patch_size": patch}
    network = getattr(unet_refiner, kind)(**arguments).eval()
    if channels != 32:
        network.latent_mlp = unet_refiner.GeoDecoder(channels)
    shapes = draw(network)
    source = textwrap.dedent(inspect.getsource(getattr(unet_refiner, kind).run))
    number = re.compile(r"\b(32|128|160|192|256|320|352|512|1024)\b")
    source = number.sub(lambda found: str(int(found[0]) // divisor), source)
    exec(source, unet_refiner.__dict__)
    run = unet_refiner.__dict__["run"]
    # Cubes around a ball's surface, and their distances to it; features are waves.
    cubes = (ball(64, RADIUS, 2.0, CENTRE)[:, 1:] // 8).long().unique(dim=0)
    cells = torch.cartesian_prod(*(torch.arange(8),) * 3)
    places = (cubes[:, None] * 8 + cells).flatten(0, 1)
    distances = (places - torch.tensor(CENTRE)).norm(dim=1) - RADIUS
    values = (distances / TRUNCATION).clamp(-1, 1)[:, None]
    coords = torch.nn.functional.pad(places, (1, 0))
    features = torch.sin(places.float() @ random(3, channels, seed=3))
    volumes.clear()
    with torch.no_grad():
        run(
            network, sp.SparseTensor(values, coords),
            sp.SparseTensor(features, coords), mc_threshold=0.2,
        )  # fmt: skip
    tensors = {"inputs/cubes": cubes, "outputs/volume": volumes[0][::5, ::5, ::5].float()}
    arguments |= {"feature_channels": channels, "widths": list(REFINER_WIDTHS)}
    more = {"centre": CENTRE, "radius": RADIUS, "truncation": TRUNCATION, "volume_stride": 5}
    write(name, kind, arguments, shapes, tensors, **more)


def _with_widths(model: Any) -> Any:
    original = getattr(model, "func", model)

    def made(**arguments: Any) -> nn.Module:
        return original(**{**arguments, "block_out_channels": REFINER_WIDTHS})

    made.func = original
    return made


def sparse_dit(name: str, changed: dict[str, Any]) -> None:
    from direct3d_s2.models.transformers.sparse_dit import SparseDiT
    from direct3d_s2.modules import sparse as sp
    from direct3d_s2.modules.sparse.attention.spatial_sparse_attention.module import (
        spatial_sparse_attention as attention,
    )

    attention.sparse_window_attention = _window_attention
    arguments = {
        "resolution": 16, "in_channels": 4, "model_channels": 32, "cond_channels": 32,
        "out_channels": 4, "num_blocks": 2, "num_heads": 4, "num_kv_heads": 2,
        "compression_block_size": 4, "selection_block_size": 4, "topk": 3, "window_size": 4,
        "compression_version": "v1", "mlp_ratio": 2, "qk_rms_norm": True, "factor": 0.5, **changed,
    }  # fmt: skip
    dit = SparseDiT(**arguments).eval()
    shapes = draw(dit)
    coords = ball(16, 5.2, 0.7, (7.5, 7.0, 8.0))
    x, t, tokens = random(len(coords), 4, seed=5), torch.tensor([431.0]), random(1, 6, 32, seed=6)
    context, inputs = tokens, {"inputs/cond": tokens}
    if arguments.get("sparse_conditions"):
        places = torch.tensor([[0, 0, 0, 1], [0, 3, 5, 0], [0, 4, 5, 0], [0, 9, 1, 0]]).int()
        context = sp.SparseTensor(tokens[0, :4], places)
        inputs = {"inputs/cond": tokens[0, :4], "inputs/cond_coords": places}
    v = dit(sp.SparseTensor(x, coords), t, context).feats
    tensors = {"inputs/coords": coords, "inputs/feats": x, "inputs/t": t, **inputs, "outputs/v": v}
    tolerance = {"float32_cpu": {"atol": 1e-4, "rtol": 1e-3}}
    write(name, "SparseDiT", arguments, shapes, tensors, tolerance=tolerance)


def _window_attention(q: Any, k: Any, v: Any, window_size: int, shift_window: int) -> Any:
    """In place of sparse_window_attention: by masks."""
    cells = q.coords.clone()
    cells[:, 1:] = (cells[:, 1:] + shift_window) // window_size
    mask = (cells[:, None] == cells).all(-1)
    return q.replace(attend(q.feats, k.feats, v.feats, mask.expand(q.feats.shape[1], -1, -1))[0])


def official_names() -> None:
    """Names and shapes of the released sizes, as one digest for each part."""
    from direct3d_s2.models.autoencoders.dense_vae import DenseShapeVAE
    from direct3d_s2.models.autoencoders.ss_vae import SparseSDFVAE
    from direct3d_s2.models.refiner.unet_refiner import Voxel_RefinerXL, Voxel_RefinerXL_sign
    from direct3d_s2.models.transformers.dense_dit import DenseDiT
    from direct3d_s2.models.transformers.sparse_dit import SparseDiT

    dit = {
        "model_channels": 1024, "cond_channels": 1024, "num_blocks": 24, "mlp_ratio": 4,
        "qk_rms_norm": True,
    }  # fmt: skip
    dense = {**dit, "resolution": 16, "in_channels": 8, "out_channels": 8, "patch_size": 1}
    sparse = {
        **dit, "in_channels": 16, "out_channels": 16, "num_heads": 32, "num_kv_heads": 2,
        "selection_block_size": 8, "resolution": 64,
    }  # fmt: skip
    v1_1 = {"compression_block_size": 8, "compression_version": "v1"}
    v1_0 = {"compression_block_size": 4, "compression_version": "v2", "sparse_conditions": True}
    dense_vae = {
        "embed_dim": 8, "model_channels_decoder": [512, 128, 64], "num_res_blocks_decoder": 4,
        "num_res_blocks_middle_decoder": 4,
    }  # fmt: skip
    with torch.device("meta"):
        parts = {
            "v1.1 dense_dit": (DenseDiT(**dense, num_heads=16), ""),
            "v1.1 dense_decoder": (DenseShapeVAE(**dense_vae), "decoder."),
            "v1.1 sparse_dit_512": (SparseDiT(**sparse, **v1_1), ""),
            "v1.0 sparse_dit_512": (SparseDiT(**sparse, **v1_0), ""),
            "v1.1 sdf_decoder_512": (SparseSDFVAE(embed_dim=16), "decoder."),
            "v1.1 refiner": (Voxel_RefinerXL(), ""),
            "v1.1 refiner_1024": (Voxel_RefinerXL_sign(patch_size=256), ""),
        }
    from support.parity.fixture import digest_of_names

    found = {name: digest_of_names(network, part) for name, (network, part) in parts.items()}
    (OUT / "official_names.txt").write_text("".join(f"{n}: {d}\n" for n, d in found.items()))


def main() -> None:
    install_stand_ins()
    OUT.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    official_names()
    with torch.no_grad():
        dense_decoder()
        near = torch.tensor([[0, 3, 4, 5], [0, 4, 4, 5], [0, 4, 5, 6], [0, 9, 9, 1]]).int()
        sdf_decoder("direct3d_sdf_decoder", near, 16, 1)
        border = torch.tensor([[0, 30, 31, 7], [0, 31, 31, 7], [0, 32, 31, 7], [0, 32, 32, 8]])
        sdf_decoder("direct3d_sdf_decoder_chunks", border.int(), 64, 2)
        refiner("direct3d_refiner", "Voxel_RefinerXL", 8, 4)
        refiner("direct3d_sign_refiner", "Voxel_RefinerXL_sign", 16, 32)
        sparse_dit("direct3d_sparse_dit_v1_1", {})
        selection_of_larger = {
            "compression_block_size": 2, "compression_version": "v1", "sparse_conditions": True,
            "share_mod": True, "qk_rms_norm_cross": True, "use_shift": False,
        }  # fmt: skip
        sparse_dit("direct3d_sparse_dit_v1_0", selection_of_larger)


if __name__ == "__main__":
    public = Path(sys.argv[1])
    COMMIT = subprocess.run(
        ["git", "-C", str(public), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    sys.path.insert(0, str(TESTS))
    theirs = types.ModuleType("direct3d_s2")  # not ours, which has the same name
    theirs.__path__ = [str(public / "direct3d_s2")]
    sys.modules["direct3d_s2"] = theirs
    main()
