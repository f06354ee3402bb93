"""How does a coarse feature map look at full image resolution?

NAF (Chambon et al., "NAF: Zero-Shot Feature Upsampling via Neighborhood Attention Filtering",
2025; valeoai/NAF, commit ad4e24d): every pixel is a mixture of the coarse features around it, with
weights from how alike the image looks there. A guide (queries of pixels, keys of coarse cells) is
computed once per image and target size; attention then runs over the whole map, or only at the
pixels that are needed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import neg

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.rotary import cell_centres, rotary_tables, rotate
from sparse3d.weights import Arguments

# Larger guide images are first reduced to this multiple of the target, as in the reference.
IMAGE_PER_TARGET = 4
NORM_GROUPS = 8
# Pixels of TILE x TILE coarse cells share one gathered block of keys and values.
TILE = 2
# Rows of the guide that are rotated at once: what fits into a processor's cache.
ROTATED_ROWS = 8
DEFAULT_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class NafConfig:
    """Sizes of the network; the defaults are the released model."""

    channels: int = 256
    attention_heads: int = 4
    rope_heads: int = 4
    kernel_size: int = 9
    blocks: int = 2
    rope_base: float = 100.0


@dataclass(frozen=True, eq=False)
class Guide:
    """Similarities within one image at one target size.

    queries: (H, W, D) of the target's pixels; keys: (h, w, D) of the coarse map's cells.
    Each pixel attends to kernel_size x kernel_size cells, in `heads` groups of channels.
    """

    queries: Tensor
    keys: Tensor
    heads: int
    kernel_size: int


class Naf(nn.Module):
    """The upsampler; float32. Only the image encoder has weights."""

    def __init__(self, config: NafConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = _ImageEncoder(config)

    def guide(self, image: Tensor, size: tuple[int, int], map_size: tuple[int, int]) -> Guide:
        """The guide of an image (3, H', W') for upsampling a map of map_size (h, w) to size (H, W).

        The image is in [0, 1] and not normalised. Raises ValueError for another shape.
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"a guide image must be (3, H, W), got {tuple(image.shape)}")
        queries = self.image_encoder(image, size)
        keys = F.adaptive_avg_pool2d(queries.permute(2, 0, 1)[None], map_size)[0].permute(1, 2, 0)
        return Guide(queries, keys, self.config.attention_heads, self.config.kernel_size)

    def forward(self, image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, 3, H', W') and features (B, C, h, w) -> features (B, C, H, W).

        The readable form: `attend_everywhere`.
        """
        map_size = (features.shape[-2], features.shape[-1])
        guides = [self.guide(item, size, map_size) for item in image]
        return torch.stack(
            [attend_everywhere(g, item) for g, item in zip(guides, features, strict=True)]
        )


def build_naf(arguments: Arguments) -> Naf:
    """NAF by its constructor's arguments, as released where they do not say."""
    sizes = NafConfig()
    return Naf(
        NafConfig(
            channels=arguments.get("dim", sizes.channels),
            attention_heads=arguments.get("heads_attn", sizes.attention_heads),
            rope_heads=arguments.get("heads_rope", sizes.rope_heads),
            kernel_size=arguments.get("kernel_size", sizes.kernel_size),
            blocks=arguments.get("img_layers", sizes.blocks),
            rope_base=arguments.get("rope_base", sizes.rope_base),
        )
    )


def attend_everywhere(guide: Guide, features: Tensor) -> Tensor:
    """Features (C, h, w) -> the whole map (C, H, W): the readable twin of `attend_at_pixels`."""
    _check_features(guide, features)
    rows, columns = _windows_of(guide)
    split = (guide.heads, -1)
    queries = guide.queries.unflatten(-1, split)
    keys = guide.keys.unflatten(-1, split)
    values = features.permute(1, 2, 0).unflatten(-1, split)
    scale = queries.shape[-1] ** -0.5
    lines = []
    for query, window in zip(queries, rows, strict=True):
        near_keys, near_values = keys[window][:, columns], values[window][:, columns]
        scores = torch.einsum("xnd,ixjnd->xnij", query * scale, near_keys)
        weights = scores.flatten(2).softmax(-1).view_as(scores)
        lines.append(torch.einsum("xnij,ixjnd->xnd", weights, near_values).flatten(1))
    return torch.stack(lines).permute(2, 0, 1)


def attend_at_pixels(
    guide: Guide,
    features: Tensor,
    rows: Tensor,
    columns: Tensor,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Tensor:
    """Features (C, h, w) upsampled at the pixels (rows (P,), columns (P,)) alone: (P, C).

    Pixels of neighbouring coarse cells are grouped into tiles. A tile gathers the union of its
    windows once; a bias of -inf, and log m where a window holds a cell m times, restores each
    pixel's own window. Agrees with `attend_everywhere` to rounding (1e-5 of the largest value).
    chunk_bytes bounds the intermediate memory. Raises ValueError for features of another size.
    """
    _check_features(guide, features)
    windows = zip(_windows_of(guide), guide.keys.shape[:2], strict=True)
    vertical, horizontal = (_Axis.of(window, cells) for window, cells in windows)
    by_head = (guide.heads, -1)
    keys = guide.keys.flatten(0, 1).unflatten(1, by_head).transpose(0, 1).contiguous()
    values = features.flatten(1).unflatten(0, by_head).transpose(1, 2).contiguous()
    mixed = values.new_zeros(len(rows), len(features))
    tiles = _Tiles.of(vertical.tile[rows] * len(horizontal.cells) + horizontal.tile[columns])
    block = vertical.cells.shape[1] * horizontal.cells.shape[1]
    for group in tiles.chunks(chunk_bytes, block, *_memory_costs(guide, features)):
        y, x = rows[group.member], columns[group.member]
        cell_y = vertical.cells[group.tile // len(horizontal.cells)]
        cell_x = horizontal.cells[group.tile % len(horizontal.cells)]
        cells = (cell_y[:, :, None] * guide.keys.shape[1] + cell_x[:, None]).flatten(1)
        in_y = vertical.log_count[y[..., None], cell_y[:, None]]
        in_x = horizontal.log_count[x[..., None], cell_x[:, None]]
        bias = (in_y[..., :, None] + in_x[..., None, :]).flatten(2)
        queries = guide.queries[y, x].unflatten(-1, by_head).permute(2, 0, 1, 3)
        result = _attend(queries, keys[:, cells], values[:, cells], bias)
        mixed[group.member[group.real]] = result.permute(1, 2, 0, 3).flatten(2)[group.real]
    return mixed


def nearest_windows(cells: int, pixels: int, kernel_size: int) -> Tensor:
    """Along one axis, the coarse cells (pixels, kernel_size) int64 that each pixel attends to.

    Neighbourhood attention (NATTEN 0.21) with dilation d = pixels // cells on the map enlarged by
    "nearest-exact": a pixel's window steps by d, and is shifted to stay inside at the borders.
    Raises ValueError where a window does not fit.
    """
    dilation = max(pixels // cells, 1)
    if pixels // dilation < kernel_size or pixels < cells:
        raise ValueError(
            f"a window of {kernel_size} cells does not fit: {cells} cells become {pixels} pixels"
        )
    pixel = torch.arange(pixels)
    phase, step = pixel % dilation, pixel // dilation
    steps = (pixels - phase + dilation - 1) // dilation
    start = (step - kernel_size // 2).clamp(min=0).minimum(steps - kernel_size)
    reached = phase[:, None] + dilation * (start[:, None] + torch.arange(kernel_size))
    # The cell of each pixel, in the rounding of the interpolation itself.
    ramp = torch.arange(cells, dtype=torch.float32)[None, None]
    cell_of_pixel = F.interpolate(ramp, size=pixels, mode="nearest-exact")[0, 0].long()
    return cell_of_pixel[reached]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention (heads, n, p, d) x (heads, n, m, d) with a bias (n, p, m) for all heads."""
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    return scores.add_(bias).softmax(-1) @ values


def _windows_of(guide: Guide) -> tuple[Tensor, Tensor]:
    """The windows of every row and of every column of pixels."""
    rows, columns = (
        nearest_windows(cells, pixels, guide.kernel_size).to(guide.keys.device)
        for cells, pixels in zip(guide.keys.shape[:2], guide.queries.shape[:2], strict=True)
    )
    return rows, columns


def _check_features(guide: Guide, features: Tensor) -> None:
    expected = tuple(guide.keys.shape[:2])
    if features.ndim != 3 or features.shape[1:] != expected or features.shape[0] % guide.heads:
        raise ValueError(
            f"features must be (C, {expected[0]}, {expected[1]}) with C a multiple of "
            f"{guide.heads}, got {tuple(features.shape)}"
        )


def _memory_costs(guide: Guide, features: Tensor) -> tuple[int, int]:
    """Bytes of a row of keys and values; of the scores and bias between one pixel and one row."""
    number = features.element_size()
    return (guide.keys.shape[-1] + len(features)) * number, (2 * guide.heads + 1) * number


@dataclass(frozen=True, eq=False)
class _Axis:
    """One image axis cut into tiles.

    tile: (pixels,) the tile of each pixel; cells: (tiles, span) the coarse cells of each tile's
    windows; log_count: (pixels, coarse cells) log of how often a pixel's window holds a cell.
    """

    tile: Tensor
    cells: Tensor
    log_count: Tensor

    @staticmethod
    def of(windows: Tensor, cells: int) -> _Axis:
        """Tiles of the windows (pixels, kernel_size) on an axis of `cells` coarse cells."""
        pixels = torch.arange(len(windows), device=windows.device)
        tile = pixels * cells // len(windows) // TILE
        tiles = -(-cells // TILE)
        first = tile.new_full((tiles,), cells).scatter_reduce(0, tile, windows.amin(1), "amin")
        last = tile.new_zeros(tiles).scatter_reduce(0, tile, windows.amax(1), "amax")
        span = int((last - first).max()) + 1
        # Shifted inwards, so that no cell is gathered twice.
        start = first.clamp(max=cells - span)
        count = torch.zeros(len(windows), cells, device=windows.device)
        count.scatter_add_(1, windows, torch.ones_like(windows, dtype=count.dtype))
        return _Axis(tile, start[:, None] + torch.arange(span, device=tile.device), count.log())


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some tiles at once: tile (n,), member (n, p) pixel numbers, real (n, p) False in padding."""

    tile: Tensor
    member: Tensor
    real: Tensor


@dataclass(frozen=True, eq=False)
class _Tiles:
    """Pixels sorted by tile: order (P,); per occupied tile its number, first place and count."""

    order: Tensor
    number: Tensor
    first: Tensor
    count: Tensor

    @staticmethod
    def of(tile: Tensor) -> _Tiles:
        """Group pixels by their tile (P,); the fullest tiles come first."""
        order = tile.argsort(stable=True)
        number, count = tile[order].unique_consecutive(return_counts=True)
        first = count.cumsum(0) - count
        by_count = count.argsort(descending=True, stable=True)
        return _Tiles(order, number[by_count], first[by_count], count[by_count])

    def chunks(
        self, chunk_bytes: int, block: int, row_bytes: int, score_bytes: int
    ) -> Iterator[_Chunk]:
        """Runs of tiles of similar count whose intermediates fit into chunk_bytes (one at least).

        block: gathered rows per tile; row_bytes: of one such row, and half of a pixel's;
        score_bytes: of all scores of a pixel and a row.
        """
        counts = self.count.tolist()
        begin = 0
        while begin < len(counts):
            widest = counts[begin]
            tile_bytes = row_bytes * (block + 2 * widest) + score_bytes * block * widest
            end = min(begin + max(1, chunk_bytes // tile_bytes), len(counts))
            end = bisect_right(counts, -widest / 2, begin, end, key=neg)
            place = torch.arange(widest, device=self.order.device)
            real = place < self.count[begin:end, None]
            index = self.first[begin:end, None] + place.minimum(self.count[begin:end, None] - 1)
            yield _Chunk(self.number[begin:end], self.order[index], real)
            begin = end


class _ImageEncoder(nn.Module):
    """Per-pixel and 3 x 3 features of an image, pooled to the target and given positions."""

    def __init__(self, config: NafConfig) -> None:
        super().__init__()
        self.heads = config.rope_heads
        self.encoder = _branch(config, 1)
        self.sem_encoder = _branch(config, 3)
        self.rope = _Rope(config.channels // config.rope_heads, config.rope_base)

    def forward(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Image (3, H', W') -> (H, W, channels)."""
        if any(n > IMAGE_PER_TARGET * m for n, m in zip(image.shape[1:], size, strict=True)):
            limit = IMAGE_PER_TARGET * min(size)
            reduced = [min(n, limit) for n in image.shape[1:]]
            image = F.interpolate(image[None], reduced, mode="bilinear")[0]
        # Convolutions on a CPU run twice as fast with the channels last.
        batch = image[None].contiguous(memory_format=torch.channels_last)
        maps = [_pool(b(batch), size)[0] for b in (self.encoder, self.sem_encoder)]
        placed = torch.cat([m.permute(1, 2, 0) for m in maps], -1)
        rows, columns = (cell_centres(count, image) for count in size)
        for begin in range(0, size[0], ROTATED_ROWS):
            part = placed[begin : begin + ROTATED_ROWS]
            near = rows[begin : begin + ROTATED_ROWS]
            cosine, sine = rotary_tables(near, columns, self.rope.periods)
            by_head = part.flatten(0, 1).unflatten(1, (self.heads, -1))
            part.copy_(rotate(by_head, cosine[:, None], sine[:, None]).view(part.shape))
        return placed


class _Rope(nn.Module):
    """The periods base^(2 i / (D / 2)) of the rotary positions of heads with D channels."""

    periods: Tensor

    def __init__(self, head_channels: int, base: float) -> None:
        super().__init__()
        periods = [base ** (4 * i / head_channels) for i in range(head_channels // 4)]
        self.register_buffer("periods", torch.tensor(periods))


class _Block(nn.Module):
    """Two normalised convolutions; there is no residual connection."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = _convolution(channels, channels, kernel_size)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv2 = _convolution(channels, channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.silu(_group_norm(x, self.norm1), inplace=True))
        return self.conv2(F.silu(_group_norm(x, self.norm2), inplace=True))


def _group_norm(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """The norm of (B, C, H, W) maps, in any memory order.

    On a CPU, PyTorch's own loses two digits with the channels last (measured against float64:
    2e-5 instead of 2e-6 of unit maps), which the attention then amplifies.
    """
    moments = [m.mean((2, 3)).double() for m in (x, x.square())]
    first, second = (m.unflatten(1, (norm.num_groups, -1)).mean(2) for m in moments)
    gain = (second - first.square() + norm.eps).rsqrt()
    per_channel = x.shape[1] // norm.num_groups
    gain, mean = (v.repeat_interleave(per_channel, 1) for v in (gain, first))
    gain = gain * norm.weight
    shift = norm.bias - mean * gain
    gain, shift = (t.to(x.dtype)[..., None, None] for t in (gain, shift))
    return torch.addcmul(shift, x, gain)


def _pool(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Average maps (B, C, H, W) to a size; at that size already, they stay."""
    return maps if tuple(maps.shape[-2:]) == size else F.adaptive_avg_pool2d(maps, size)


def _branch(config: NafConfig, kernel_size: int) -> nn.Sequential:
    channels = config.channels // 2
    blocks = (_Block(channels, kernel_size) for _ in range(config.blocks))
    return nn.Sequential(_convolution(3, channels, kernel_size), *blocks)


def _convolution(channels_in: int, channels_out: int, kernel_size: int) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(
        channels_in, channels_out, kernel_size, padding=padding, padding_mode="reflect"
    )
