"""Cameras, image features at voxels, and their average over several views."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from torch import Tensor, nn  # noqa: E402

from pixal3d.camera import (  # noqa: E402
    PosedCamera,
    align_views,
    distance_from_fov,
    focal_px,
    fov_from_focal,
    front_camera,
    grid_coords,
    project_points,
    project_voxels,
    voxel_points,
)
from pixal3d.dinov3 import (  # noqa: E402
    DinoV3,
    DinoV3Config,
    ImageFeatures,
    encode_image,
    split_tokens,
)
from pixal3d.projection import (  # noqa: E402
    condition,
    guide_of,
    project_dense,
    project_features,
    sample_map,
)
from sparse3d.naf import Naf, NafConfig  # noqa: E402

Network = TypeVar("Network", bound=nn.Module)
TINY_DINO = DinoV3Config(channels=24, layers=2, heads=2, mlp_channels=48, patch_size=8)
TINY_NAF = NafConfig(channels=32, kernel_size=3)
SIZE = 64


def random_weights(module: Network, seed: int) -> Network:
    """Every parameter drawn anew, so that none is a neutral one or zero."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        parameter.data = scale * torch.randn(parameter.shape, generator=draw)
    return module.eval()


def random_pose(seed: int, distance: float) -> Tensor:
    """A camera at `distance` from the origin with any turn about it, not looking at its centre."""
    draw = np.random.default_rng(seed)
    matrix = np.eye(4)
    q, r = np.linalg.qr(draw.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    matrix[:3, :3] = q * np.linalg.det(q)
    position = draw.normal(size=3)
    matrix[:3, 3] = position / np.linalg.norm(position) * distance
    return torch.tensor(matrix, dtype=torch.float32)


def example_features(seed: int = 0) -> ImageFeatures:
    dino = random_weights(DinoV3(TINY_DINO), 1)
    image = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return encode_image(dino, image)


def some_voxels(grid_size: int, count: int = 40) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    order = torch.randperm(grid_size**3, generator=draw)[:count]
    return grid_coords(grid_size, order)[order].int()


def test_the_unit_grid_spans_the_image_at_its_distance() -> None:
    for fov, scale, size in ((0.3, 1.0, 512), (0.9, 0.7, 1024), (2.0, 1.3, 512)):
        view = PosedCamera(fov, front_camera(distance_from_fov(fov, scale, size, 5)))
        left = torch.tensor([[-0.5 / scale, 0.0, 0.0]])
        pixel_x, pixel_y = project_points(left, view, size).pixel_xy[0].tolist()
        assert pixel_x == pytest.approx(-5, abs=2e-3)
        assert pixel_y == pytest.approx(size / 2)
        assert fov_from_focal(focal_px(fov, size), size) == pytest.approx(fov, rel=1e-6)


def test_voxels_land_where_the_closed_formula_says() -> None:
    grid_size, scale, size, fov, distance = 7, 0.8, 512, 0.6, 2.5
    coords = grid_coords(grid_size, torch.zeros(0))
    x, y, z = (2 * coords.double() / (grid_size - 1) - 1).T / (2 * scale)
    focal = size / (2 * math.tan(fov / 2))
    pixels = torch.stack((focal * x / (distance - z), -focal * y / (distance - z)), -1) + size / 2
    expected = (pixels + 0.5) / size * 2 - 1
    view = PosedCamera(fov, front_camera(distance))
    positions = project_voxels(coords, grid_size, view, scale, size)
    torch.testing.assert_close(positions.double(), expected, atol=2e-6, rtol=0)


def test_points_behind_and_beside_the_camera_are_not_visible() -> None:
    view = PosedCamera(0.5, front_camera(2.0))
    points = torch.tensor([[0.0, 0, 0], [0, -3, 0], [1.5, 0, 0]])
    seen = project_points(points, view, 256)
    assert seen.visible.tolist() == [True, False, False]
    torch.testing.assert_close(seen.depth, torch.tensor([2.0, -1.0, 2.0]))


def test_aligned_views_keep_their_places_among_each_other() -> None:
    views = [PosedCamera(0.4, random_pose(1, 3.0)), PosedCamera(0.5, random_pose(2, 2.0))]
    first, second = align_views(views)
    assert torch.equal(first.world_from_camera, front_camera(views[0].distance))
    assert (first.fov_x_rad, second.fov_x_rad) == (0.4, 0.5)
    before = torch.linalg.inv(views[0].world_from_camera) @ views[1].world_from_camera
    after = torch.linalg.inv(first.world_from_camera) @ second.world_from_camera
    torch.testing.assert_close(after, before, atol=2e-6, rtol=0)


def test_a_rig_that_stands_right_stays_as_it_is() -> None:
    quarter = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    views = [PosedCamera(0.4, front_camera(3.0)), PosedCamera(0.4, quarter @ front_camera(3.0))]
    for aligned, view in zip(align_views(views), views, strict=True):
        torch.testing.assert_close(aligned.world_from_camera, view.world_from_camera)
    # A quarter turn about the vertical puts the front camera, at -y, on the right, at +x.
    torch.testing.assert_close(views[1].world_from_camera[:3, 3], torch.tensor([3.0, 0, 0]))
    right = torch.tensor([[0.5, 0.0, 0.0]])
    assert project_points(right, views[1], 512).depth.item() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("fov", "change", "message"),
    [
        (0.0, None, "field of view"),
        (math.pi, None, "field of view"),
        (math.nan, None, "field of view"),
        (0.5, lambda m: m * 2, "end in 0 0 0 1"),
        (0.5, lambda m: m @ torch.diag(torch.tensor([1.1, 1, 1, 1])), "not rigid"),
        (0.5, lambda m: m @ torch.diag(torch.tensor([-1.0, 1, 1, 1])), "mirrors"),
        (0.5, lambda m: m * math.nan, "not finite"),
        (0.5, lambda m: m[:3], "(4, 4)"),
        (0.5, lambda m: m.double(), "float32"),
    ],
)
def test_bad_views_are_refused(fov, change, message) -> None:
    pose = front_camera(2.0)
    with pytest.raises(ValueError) as refusal:
        PosedCamera(fov, change(pose) if change else pose)
    assert message in str(refusal.value)


def test_bad_numbers_are_refused() -> None:
    view = PosedCamera(0.5, front_camera(2.0))
    for call in (
        lambda: front_camera(0.0),
        lambda: distance_from_fov(0.5, mesh_scale=0),
        lambda: distance_from_fov(0.5, extend_px=-256),
        lambda: fov_from_focal(-1.0, 512),
        lambda: voxel_points(torch.tensor([[0, 0, 8]]), 8),
        lambda: voxel_points(torch.tensor([[0, -1, 0]]), 8),
        lambda: voxel_points(torch.tensor([[0.0, 0, 0]]), 8),
        lambda: voxel_points(torch.zeros(1, 4, dtype=torch.int32), 8),
        lambda: voxel_points(torch.zeros(1, 3, dtype=torch.int32), 1),
        lambda: align_views([]),
        lambda: align_views([PosedCamera(0.5, torch.eye(4))]),
        lambda: condition([], some_voxels(8), 8),
        lambda: condition([(view, example_features())], some_voxels(8), 8, naf_size=32),
        lambda: DinoV3(TINY_DINO)(torch.zeros(1, 3, 60, 64)),
        lambda: encode_image(DinoV3(TINY_DINO), torch.zeros(3, 64, 32)),
    ):
        with pytest.raises(ValueError):
            call()


def test_tokens_split_into_global_ones_and_a_map_row_by_row() -> None:
    tokens = torch.arange(2 * 11 * 3.0).view(2, 11, 3)
    global_tokens, patches = split_tokens(tokens, (2, 3))
    assert torch.equal(global_tokens, tokens[:, :5])
    assert patches.shape == (2, 3, 2, 3)
    assert torch.equal(patches[1, :, 1, 0], tokens[1, 5 + 3])


def test_official_size() -> None:
    with torch.device("meta"):
        dino = DinoV3(DinoV3Config())
    assert sum(parameter.numel() for parameter in dino.parameters()) == 303_129_600
    assert len(dino.state_dict()) == 415


def test_image_features_of_the_final_norm_and_mask_do_not_matter() -> None:
    dino, image = random_weights(DinoV3(TINY_DINO), 1), torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        before = dino(image)
        dino.norm.weight.mul_(3)
        dino.embeddings.mask_token.add_(1)
        assert torch.equal(dino(image), before)
        dino.get_parameter("layer.1.layer_scale2.lambda1").add_(0.1)
        assert not torch.equal(dino(image), before)
    assert before.shape == (1, 5 + 4 * 6, 24)


@pytest.mark.parametrize("distance", [2.5, 0.9])
@pytest.mark.parametrize("with_naf", [False, True])
def test_active_voxels_equal_the_whole_grid(with_naf: bool, distance: float) -> None:
    """The nearer camera leaves a part of the grid out of view: its border features count too."""
    grid_size, features = 8, example_features()
    view, coords = PosedCamera(0.8, front_camera(distance)), some_voxels(grid_size)
    guide = upsampled = None
    with torch.inference_mode():
        if with_naf:
            naf = random_weights(Naf(TINY_NAF), 2)
            guide = guide_of(naf, features, 48)
            upsampled = naf(features.image[None], features.patch_map[None], (48, 48))[0]
        active = project_features(view, features, coords, grid_size, 0.9, guide)
        whole = project_dense(view, features, grid_size, 0.9, upsampled)
    x, y, z = coords.long().T
    torch.testing.assert_close(
        active, whole[(x * grid_size + y) * grid_size + z], atol=5e-5, rtol=0
    )
    assert active.shape == (len(coords), 24 * (1 + with_naf))


def test_the_dense_grid_is_the_sampled_map_where_the_map_is_linear() -> None:
    """A map whose channels are its own column and row: the sample is the position itself."""
    features = example_features()
    height, width = 16, 16
    columns, rows = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="xy")
    ramp = torch.stack((columns, rows))
    positions = torch.tensor([[0.1, -0.4], [-2.0, 0.5], [0.99, 3.0]])
    sampled = sample_map(ramp[None], positions[None])[0]
    expected = ((positions + 1) * torch.tensor([width, height]) - 1) / 2
    torch.testing.assert_close(sampled, expected.clamp(0, 15))
    view, coords = PosedCamera(0.8, front_camera(1.5)), some_voxels(8)
    linear = ImageFeatures(features.global_tokens, ramp, features.image)
    positions = project_voxels(coords, 8, view, 1.0, SIZE)
    expected = (((positions + 1) * 16 - 1) / 2).clamp(0, 15)
    torch.testing.assert_close(project_features(view, linear, coords, 8), expected)


def test_views_are_averaged() -> None:
    coords, grid_size = some_voxels(8), 8
    naf = random_weights(Naf(TINY_NAF), 2)
    poses = (front_camera(2.5), random_pose(4, 2.0), random_pose(5, 3.0))
    views = [(PosedCamera(0.6, pose), example_features(seed)) for seed, pose in enumerate(poses)]
    with torch.inference_mode():
        together = condition(views, coords, grid_size, 0.9, naf, 32)
        alone = [condition([view], coords, grid_size, 0.9, naf, 32) for view in views]
        mean = torch.stack([one.projected for one in alone]).mean(0)
        torch.testing.assert_close(together.projected, mean)
        tokens = torch.stack([features.global_tokens for _, features in views]).mean(0)
        torch.testing.assert_close(together.context[0], tokens)
        same = condition([views[1]] * 2, coords, grid_size, 0.9, naf, 32)
        torch.testing.assert_close(same.projected, alone[1].projected)
    assert not torch.allclose(alone[0].projected, alone[1].projected, atol=0.1)


def test_no_voxels_have_no_rows() -> None:
    naf = random_weights(Naf(TINY_NAF), 2)
    view = PosedCamera(0.6, front_camera(2.5))
    empty = condition([(view, example_features())], some_voxels(8)[:0], 8, 1.0, naf, 32)
    assert empty.projected.shape == (0, 48)


def test_conditioning_leaves_its_inputs_alone() -> None:
    view, coords = PosedCamera(0.6, front_camera(2.5)), some_voxels(8)
    features = example_features()
    before = features.patch_map.clone(), features.global_tokens.clone()
    first = condition([(view, features)] * 2, coords, 8)
    assert torch.equal(features.patch_map, before[0])
    assert torch.equal(features.global_tokens, before[1])
    assert torch.equal(condition([(view, features)] * 2, coords, 8).projected, first.projected)
