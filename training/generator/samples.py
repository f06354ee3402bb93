"""What is a training sample, and how do many of them lie on disk?"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Uint8
from training.common.shards import appearing


@dataclass(frozen=True, eq=False)
class Sample:
    """One object seen by one camera, at S x S pixels (S even), in the object cube.

    rgba (S, S, 4) uint8, straight alpha; layers (S, S, 4) float16: z of the first surface, near and
    far end of the largest gap (0, 0 for none), last surface, 0 outside; back, inner (S/2, S/2, 3)
    uint8: colours of the last surface and of the gap's far end; fov_rad () float32.
    """

    rgba: Uint8
    layers: NDArray[np.float16]
    back: Uint8
    inner: Uint8
    fov_rad: Float32


# What the names of shards begin with: meshes, procedural shapes of all families, what stands on
# tables.
KINDS = MESHES, SHAPES, TABLES = "meshes", "shapes", "tables"
NAMES = tuple(f.name for f in fields(Sample))


def make_sample(rgb: Uint8, layers: Float32, back: Uint8, inner: Uint8, fov_rad: float) -> Sample:
    """A sample of full-resolution pictures (S, S, ...); layers are NaN outside the object."""
    solid = np.isfinite(layers[..., 0])
    alpha = (solid * 255).astype(np.uint8)
    gap = solid & (layers[..., 2] > layers[..., 1])
    return Sample(
        np.concatenate([rgb, alpha[..., None]], -1),
        np.where(solid[..., None], layers, 0).astype(np.float16),
        halved(back, solid),
        halved(inner, gap),
        np.float32(fov_rad),  # type: ignore[arg-type]
    )


def halved(image: Uint8, known: NDArray[np.bool_]) -> Uint8:
    """(S/2, S/2, C) mean of the known pixels of every 2 x 2 block; 0 where there is none."""
    half = image.shape[0] // 2
    weight = known.astype(np.float32)[..., None]
    blocks = (image * weight).reshape(half, 2, half, 2, -1).sum((1, 3))
    share = weight.reshape(half, 2, half, 2, 1).sum((1, 3))
    return np.rint(blocks / np.maximum(share, 1)).astype(np.uint8)


def save_shard(samples: list[Sample], folder: Path) -> None:
    """Write samples of one size as arrays; the folder appears only when it is whole."""
    with appearing(folder) as unfinished:
        for name in NAMES:
            np.save(unfinished / f"{name}.npy", np.stack([getattr(s, name) for s in samples]))


class Shards:
    """All samples of one size below a folder, read from disk as they are wanted.

    kinds: the indices of each of KINDS.
    """

    def __init__(self, folders: list[Path]) -> None:
        """Raises ValueError when there is no shard."""
        if not folders:
            raise ValueError(
                "no training samples: run `python -m training.generator.make_data` first"
            )
        folders = sorted(folders, key=lambda f: f.name)
        self._shards = [{n: np.load(f / f"{n}.npy", mmap_mode="r") for n in NAMES} for f in folders]
        self._first = np.cumsum([0, *(len(shard["rgba"]) for shard in self._shards)])
        starts = [bisect_left(folders, kind, key=lambda f: f.name) for kind in KINDS]
        bounds = [int(self._first[i]) for i in [*starts, len(folders)]]
        self.kinds = {k: range(*b) for k, b in zip(KINDS, pairwise(bounds), strict=True)}

    def __len__(self) -> int:
        return int(self._first[-1])

    def take(self, indices: NDArray[np.int64]) -> dict[str, NDArray]:
        """The samples at indices (B,), stacked: name -> (B, ...)."""
        shard = np.searchsorted(self._first, indices, "right") - 1
        rows = [
            (self._shards[s], int(i - self._first[s])) for s, i in zip(shard, indices, strict=True)
        ]
        return {n: np.stack([arrays[n][i] for arrays, i in rows]) for n in NAMES}
