"""Which features a voxel gets: where it projects, how maps are sampled, what several views give."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from direct3d_s2.conditioning import (  # noqa: E402
    BackProjection,
    EncodedView,
    object_tokens,
    project,
    projected_conditioning,
    sampled_features,
    sampled_features_whole,
    token_points,
    without_image,
)
from direct3d_s2.images import (  # noqa: E402
    BORDER_PX,
    ObjectImage,
    back_face_distance,
    framed,
    front_view,
    posed_views,
)
from sparse3d.dinov2 import DinoV2, DinoV2Config  # noqa: E402
from sparse3d.naf import build_naf  # noqa: E402

NAF = {"dim": 16, "heads_attn": 4, "heads_rope": 4, "kernel_size": 3, "img_layers": 1}


def _cutout(side: int = 56) -> np.ndarray:
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[8:40, 12:30] = (200, 100, 50, 255)
    return rgba


def _encoded(seed: int = 0) -> EncodedView:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randn(5 + 16, 32, generator=random)
    view = front_view(_cutout(), 0.5, 56)
    return EncodedView(view, tokens, tokens[5:].T.reshape(32, 4, 4).contiguous())


@pytest.mark.parametrize("fov_deg", [5, 20, 40])
def test_corner_rays_meet_the_corners_of_the_back_face(fov_deg: float) -> None:
    fov = math.radians(fov_deg)
    assert back_face_distance(math.radians(20)) == pytest.approx(2.336, abs=1e-3)
    back = torch.tensor([[x, y, -0.5] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    positions, _ = project(back, front_view(_cutout(), fov, 56))
    expected = torch.tensor([[x, -y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    torch.testing.assert_close(positions, expected, atol=1e-5, rtol=0)


def test_points_out_of_the_image_or_behind_the_camera_are_not_visible() -> None:
    view = front_view(_cutout(), 0.5, 56)
    points = torch.tensor([[0, 0, 0], [0.49, 0, 0.45], [0, 0, 9.0]])
    assert project(points, view)[1].tolist() == [True, False, False]


def test_sampling_at_positions_equals_the_whole_maps() -> None:
    torch.manual_seed(0)
    naf, encoded = build_naf(NAF).eval(), _encoded()
    positions = 2 * torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) - 1
    with torch.inference_mode():
        some = sampled_features(encoded, positions, naf)
        whole = sampled_features_whole(encoded, positions, naf)
    torch.testing.assert_close(some, whole, atol=5e-5, rtol=1e-4)


def test_views_count_where_they_have_the_voxel_and_class_tokens_are_the_context() -> None:
    torch.manual_seed(0)
    naf, layers = build_naf(NAF).eval(), BackProjection([16, 16, 16], 32)
    with torch.no_grad():
        layers.stages["dense"].weight.normal_()
    first = _encoded(1)
    away = torch.eye(4)
    away[2, 3] = 5.0  # the cube is behind it
    second = replace(_encoded(2), view=replace(first.view, camera_from_cube=away))
    points = torch.tensor([[0.0, 0, 0], [0.49, 0.49, 0.45]])
    with torch.inference_mode():
        one = projected_conditioning([first], points, naf, layers, "dense")
        two = projected_conditioning([first, second], points, naf, layers, "dense")
        none = without_image(two, layers, "dense")
    assert one.term is not None and two.term is not None
    torch.testing.assert_close(one.term, two.term)
    assert one.term[0].abs().max() > 0 and (one.term[1] == 0).all()
    assert torch.equal(two.tokens[0], torch.stack([first.tokens[0], second.tokens[0]]))
    assert not none.tokens[0].any() and len(none.tokens[0]) == 1


def test_a_rig_of_views_has_the_first_one_at_the_front() -> None:
    """The second camera stands at the cube's right (x) and looks at it."""
    front = np.array([[1.0, 0, 0, 0], [0, 0, -1, -3], [0, 1, 0, 0], [0, 0, 0, 1]])
    right = np.array([[0.0, 0, 1, 3], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    views = posed_views([(_cutout(), 0.5, front), (_cutout(), 0.5, right)], 56)
    points = torch.tensor([[0.3, 0.1, 0.2]])
    in_front, _ = project(points, views[0])
    in_right, _ = project(points, views[1])
    tangent = math.tan(0.25)
    assert in_front[0].tolist() == pytest.approx([0.3 / 2.8 / tangent, -0.1 / 2.8 / tangent])
    assert in_right[0].tolist() == pytest.approx([-0.2 / 2.7 / tangent, -0.1 / 2.7 / tangent])


def test_tokens_stand_in_the_middle_of_their_nodes() -> None:
    coords = torch.tensor([[0, 1, 7]])
    points = token_points(coords, 8, 64)[0]
    nodes = torch.arange(64) / 63 - 0.5
    expected = [float(nodes[8 * i : 8 * i + 8].mean()) for i in (0, 1, 7)]
    assert points.tolist() == pytest.approx(expected)


def test_framing_is_the_released_one() -> None:
    """The longer side fills all but the border: 518 of 550 pixels."""
    image = framed(_cutout(), 518)
    rows, columns = image.mask.nonzero().unbind(1)
    border = BORDER_PX * 518 / 550
    assert int(rows.min()) == pytest.approx(border, abs=1)
    assert int(rows.max()) == pytest.approx(517 - border, abs=1)
    assert int(columns.max() - columns.min()) == pytest.approx(18 / 32 * 518 * 518 / 550, abs=2)
    assert image.rgb[:, 0, 0].tolist() == [1, 1, 1]


def test_v1_0_takes_the_tokens_of_patches_with_some_of_the_object() -> None:
    encoder = DinoV2(DinoV2Config(32, 1, 2, 4, 14, 56, 4))
    tokens = torch.arange(21.0)[:, None].expand(-1, 32)
    mask = torch.zeros(56, 56)
    mask[30, 15], mask[13, 55] = 1, 1
    mine, places = object_tokens(tokens, ObjectImage(torch.zeros(3, 56, 56), mask), encoder)
    assert mine[:, 0].tolist() == [0, 1, 2, 3, 4, 5 + 3, 5 + 2 * 4 + 1]
    assert places.tolist() == [[0, 0, 1]] * 5 + [[3, 0, 0], [1, 2, 0]]
