"""How do clean renders become pictures like photos of cut-out objects? In numpy, by a generator.

Light, white balance, texture, blur, noise, JPEG, background that shines in at the edge, masks that
are wrong, things in front, depth with noise and holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.morphology import eroded, square
from scene.types import Bool, Float32, Uint8
from stages.generate.lite.layered import NetworkImages, camera_distance

Generator = np.random.Generator
Batch = dict[str, NDArray]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the network should say, at H = S / 2: depths (B, 4, H, H); solid, gap (B, H, H): shares
    of every cell; back, inner (B, H, H, 3) in [0, 1]."""

    depths: Float32
    solid: Float32
    gap: Float32
    back: Float32
    inner: Float32


def augmented(
    batch: Batch, generator: Generator, measured: float, hidden_fraction: float
) -> tuple[NetworkImages, Truth]:
    """Pictures as they could come from photos, shares of them with depth and with something in
    front, and their truth."""
    flipped = _flip(batch, generator)
    rgb, back, inner = flipped["rgba"][..., :3], flipped["back"], flipped["inner"]
    alpha = flipped["rgba"][..., 3] > 127
    depths = flipped["layers"].astype(np.float32)
    colours = (np.zeros(values.shape, np.float32) for values in (back, inner))
    truth = halved_truth(depths, alpha, *colours)
    seen_rgb, seen_alpha = np.zeros(rgb.shape, np.float32), np.zeros(alpha.shape, np.float32)
    hidden, depth = np.zeros_like(alpha), np.full(alpha.shape, np.nan, np.float32)
    for i in range(len(rgb)):
        fov_rad = float(flipped["fov_rad"][i])
        (one, truth.back[i], truth.inner[i]) = _relit((rgb[i], back[i], inner[i]), generator)
        one = _textured(one, rgb[i - 1], generator)
        seen_rgb[i], seen_alpha[i] = _photographed(one, alpha[i], generator)
        if generator.random() < measured:
            depth[i] = _measured(depths[i, ..., 0] + camera_distance(fov_rad), alpha[i], generator)
        if generator.random() < hidden_fraction:
            hidden[i] = _cover(alpha[i], alpha[i - 1], generator)
            seen_rgb[i], seen_alpha[i], depth[i] = _hide(
                seen_rgb[i], seen_alpha[i], depth[i], hidden[i], generator
            )
            # A completed picture does not always say which part of it was seen.
            told = np.isfinite(depth[i]).any() or generator.random() < 0.6
            hidden[i] &= bool(told)
    return NetworkImages(seen_rgb, seen_alpha, hidden, depth, flipped["fov_rad"]), truth


def clean(batch: Batch) -> tuple[NetworkImages, Truth]:
    """The pictures as they were rendered, without depth."""
    rgb = batch["rgba"][..., :3].astype(np.float32) / np.float32(255)
    alpha = batch["rgba"][..., 3] > 127
    unknown = np.full(alpha.shape, np.nan, np.float32)
    back, inner = (batch[n].astype(np.float32) / np.float32(255) for n in ("back", "inner"))
    truth = halved_truth(batch["layers"].astype(np.float32), alpha, back, inner)
    images = NetworkImages(
        rgb, alpha.astype(np.float32), np.zeros_like(alpha), unknown, batch["fov_rad"]
    )
    return images, truth


def halved_truth(layers: Float32, alpha: Bool, back: Float32, inner: Float32) -> Truth:
    """Means over the known pixels of 2 x 2 cells; layers (B, S, S, 4), alpha (B, S, S)."""
    gap = alpha & (layers[..., 2] > layers[..., 1])
    weights = np.stack([alpha, gap, gap, alpha], -1).astype(np.float32)
    share = _block_sums(weights)
    known = np.asarray(layers * weights, np.float32)
    depths = np.asarray(_block_sums(known) / np.maximum(share, 1), np.float32)
    share = share / np.float32(4)
    return Truth(depths.transpose(0, 3, 1, 2), share[..., 0], share[..., 1], back, inner)


def _block_sums(values: Float32) -> Float32:
    """(B, S/2, S/2, C) sums over 2 x 2 blocks of (B, S, S, C)."""
    upper, lower = values[:, ::2], values[:, 1::2]
    sums = upper[:, :, ::2] + upper[:, :, 1::2] + lower[:, :, ::2] + lower[:, :, 1::2]
    return np.asarray(sums, np.float32)


def _flip(batch: Batch, generator: Generator) -> Batch:
    """Mirror some left to right, and exchange their colour channels."""
    out = {name: values.copy() for name, values in batch.items()}
    for i in range(len(batch["rgba"])):
        if generator.random() < 0.5:
            for name in ("rgba", "layers", "back", "inner"):
                out[name][i] = batch[name][i, :, ::-1]
        order = generator.permutation(3)
        for name in ("rgba", "back", "inner"):
            out[name][i, ..., :3] = out[name][i][..., order]
    return out


def _relit(textures: tuple[Uint8, ...], generator: Generator) -> tuple[Float32, ...]:
    """Gamma, exposure, offset, saturation and white balance, the same for all pictures, in
    [0, 1]."""
    gamma, gain = generator.uniform(0.55, 1.7), generator.uniform(0.65, 1.35)
    offset, saturation = generator.uniform(-0.06, 0.06), generator.uniform(0.3, 1.25)
    balance = generator.uniform(0.85, 1.15, 3)
    level = np.maximum(np.arange(256) / 255, 1e-3)[:, None] ** gamma * gain * balance + offset
    # One row per value of a byte, one column per channel: a lookup is faster than a power.
    table, weight = level.astype(np.float32), np.float32(saturation)
    out = []
    for texture in textures:
        lit = np.stack([table[:, c].take(texture[..., c]) for c in range(3)], -1)
        grey = cv2.transform(lit, np.full((1, 3), 1 / 3, np.float32))[..., None]
        lit *= weight
        lit += grey * (1 - weight)
        out.append(np.clip(lit, 0, 1, out=lit))
    return tuple(out)


def _textured(rgb: Float32, other: Uint8, generator: Generator) -> Float32:
    """Another object's picture as a print on this one, sometimes, and smooth stains."""
    if generator.random() < 0.3:
        turned = np.rot90(other, int(generator.integers(4))).astype(np.float32)
        strength = generator.uniform(0.2, 0.9)
        turned *= np.float32(strength / 255)
        rgb = np.asarray(rgb * (turned + np.float32(1 - 0.6 * strength)), np.float32)
    if generator.random() < 0.4:
        cells = int(generator.integers(3, 12))
        noise = generator.normal(0, 0.12, (cells, cells, 3)).astype(np.float32)
        rgb = rgb * (1 + cv2.resize(noise, rgb.shape[:2], interpolation=cv2.INTER_CUBIC))
    return np.clip(rgb, 0, 1)


def _photographed(rgb: Float32, alpha: Bool, generator: Generator) -> tuple[Float32, Float32]:
    """On a background, through a lens and a file, and cut out again by an imperfect mask."""
    size = len(alpha)
    corners = generator.uniform(0, 1, (2, 2, 3)).astype(np.float32)
    behind = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    cover = alpha.astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(cover, (0, 0), generator.uniform(0.3, 0.8)), np.float32)
    full = _spread(rgb, alpha)
    photo = full * soft[..., None] + behind * (1 - soft[..., None])
    if generator.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), generator.uniform(0.3, 1.2) * size / 64)
    if generator.random() < 0.5:
        sigma = np.float32(generator.uniform(0.005, 0.04))
        photo = photo + generator.standard_normal(photo.shape, np.float32) * sigma
    photo = np.clip(photo, 0, 1)
    if generator.random() < 0.3:
        quality = int(generator.integers(25, 85))
        data = (photo * 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", data, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        photo = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32) / 255
    return photo.astype(np.float32), _mask(soft, cover, generator)


def _mask(soft: Float32, cover: Float32, generator: Generator) -> Float32:
    """A soft or hard mask, a little too small, too large or ragged."""
    kind = generator.random()
    if kind < 0.5:
        mask = soft
    elif kind < 0.7:
        mask = cover
    elif kind < 0.85:
        size = len(cover)
        cells = max(4, size // 8)
        wave = generator.normal(0, 0.22, (cells, cells)).astype(np.float32)
        wide = cv2.GaussianBlur(cover, (0, 0), 1.2 * size / 64)
        mask = wide > 0.5 + cv2.resize(wave, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        wide = cv2.GaussianBlur(cover, (0, 0), 0.8)
        mask = wide > generator.uniform(0.25, 0.75)
    mask = np.asarray(mask, np.float32)
    return mask if (mask > 0.5).sum() > 8 else soft


def _spread(rgb: Float32, known: Bool) -> Float32:
    """Known colours carried outward by repeated blurring."""
    weight, total = known.astype(np.float32), rgb * known[..., None]
    out, share = total.copy(), weight.copy()
    for _ in range(2):
        total, weight = cv2.blur(total, (5, 5)), cv2.blur(weight, (5, 5))
        new = (share == 0) & (weight > 0)
        out[new] = total[new] / weight[new, None]
        share[new] = 1
    return out


def _measured(depth: Float32, alpha: Bool, generator: Generator) -> Float32:
    """Depth in an unknown unit, with noise and holes, where the object is seen."""
    size = len(alpha)
    noise = generator.normal(0, generator.uniform(0, 0.006), depth.shape)
    cells = int(generator.integers(2, 9))
    bend = generator.normal(0, generator.uniform(0, 0.02), (cells, cells)).astype(np.float32)
    bend = cv2.resize(bend, (size, size), interpolation=cv2.INTER_CUBIC)
    out = (depth + noise + bend) * generator.uniform(0.3, 3)
    known = alpha.copy()
    if generator.random() < 0.5:
        known &= generator.random(depth.shape) > generator.uniform(0, 0.3)
    if generator.random() < 0.4:
        known &= eroded(alpha, 1, square)
    if not known.any():
        known = alpha
    return np.where(known, out, np.nan).astype(np.float32)


def _cover(alpha: Bool, other: Bool, generator: Generator) -> Bool:
    """(S, S) something in front: another outline, shifted, or a half plane; never the whole."""
    size = len(alpha)
    for _ in range(4):
        if generator.random() < 0.6:
            shift = generator.integers(-size // 2, size // 2 + 1, 2)
            cover = np.roll(other, shift, (0, 1))
        else:
            v, u = np.mgrid[:size, :size] / size - 0.5
            angle = generator.uniform(0, 2 * np.pi)
            cover = u * np.cos(angle) + v * np.sin(angle) > generator.uniform(0, 0.35)
        share = (cover & alpha).sum() / alpha.sum()
        if 0.03 < share < 0.5:
            return cover
    return np.zeros_like(alpha)


def _hide(
    rgb: Float32, alpha: Float32, depth: Float32, hidden: Bool, generator: Generator
) -> tuple[Float32, Float32, Float32]:
    """Take away what is hidden: the colours are guessed again, or the mask is cut as well."""
    depth = np.where(hidden, np.nan, depth).astype(np.float32)
    visible = ~hidden & (alpha > 0.5)
    if not visible.any():
        return rgb, alpha, depth
    if generator.random() < 0.6:
        guess = np.broadcast_to(rgb[visible].mean(0), rgb.shape)
        near = _spread(rgb, visible)
        guess = np.where(near.any(-1, keepdims=True), near, guess)
        guess = cv2.GaussianBlur(np.ascontiguousarray(guess, np.float32), (0, 0), 2)
        return np.where(hidden[..., None], guess, rgb), alpha, depth
    return rgb, alpha * ~hidden, depth
