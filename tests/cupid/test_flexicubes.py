"""FlexiCubes on sparse cubes: the public code's mesh on a dense grid, and a known surface."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from cupid.cube_cases import EDGES, ambiguous_faces, corner_offsets, loop_of_edge  # noqa: E402
from cupid.flexicubes import extract_mesh  # noqa: E402
from cupid.latent_vae import CubeFeatures, split_channels  # noqa: E402
from support import DATA  # noqa: E402
from support.formula_weights import numbers  # noqa: E402


def test_the_public_code_s_mesh() -> None:
    """Made by Cupid, commit 10af9b2, `SparseFeatures2Mesh` on 73 of 6^3 cubes by formula: every
    vertex and colour, and every face with its winding, in any order."""
    coords = (numbers(1, 6, 6, 6, stream=220) > 1 - 2 * 0.35).nonzero()[:, 1:].int()
    decoded = 2 * numbers(len(coords), 101, stream=221)
    decoded[:, :8] *= 0.5
    mesh = extract_mesh(split_channels(decoded, coords, 6))
    public = load_file(DATA / "cupid_flexicubes.safetensors")
    apart = torch.cdist(public["vertices"].double(), mesh.vertices.double())
    distance, ours = apart.min(1)
    assert distance.max() < 1e-5 and len(mesh.vertices) == len(public["vertices"])
    assert len(ours.unique()) == len(ours)
    assert mesh.colours is not None
    torch.testing.assert_close(mesh.colours[ours], public["colours"], atol=1e-5, rtol=1e-4)
    assert _cycles(mesh.faces) == _cycles(ours[public["faces"].long()])


def _cycles(faces: Tensor) -> set[tuple[int, ...]]:
    """Faces with their winding, from their lowest corner on."""
    lowest = faces.argmin(1, keepdim=True)
    turned = faces.gather(1, (lowest + torch.arange(3)) % 3)
    return set(map(tuple, turned.tolist()))


def sphere(resolution: int, radius: float, margin: float) -> CubeFeatures:
    """The cubes in a sphere around the grid's centre and somewhat beyond, with its signed distance
    at their corners."""
    cells = torch.cartesian_prod(*[torch.arange(resolution)] * 3)
    centres = (cells + 0.5) / resolution - 0.5
    coords = cells[centres.norm(dim=1) - radius < margin]
    corners = (coords[:, None] + corner_offsets()) / resolution - 0.5
    distance = corners.norm(dim=2, keepdim=True) - radius + 1 / resolution
    zeros = torch.zeros(len(coords), 8, 3)
    return CubeFeatures(
        coords.int(),
        distance,
        zeros,
        torch.zeros(len(coords), 21),
        zeros.repeat(1, 1, 2),
        resolution,
    )


def test_a_sphere_is_closed_and_faces_outward() -> None:
    mesh = extract_mesh(sphere(24, 0.35, 0.08))
    assert mesh.vertices.norm(dim=1).sub(0.35).abs().max() < 0.5 / 24
    corners = mesh.vertices[mesh.faces].double()
    volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * torch.pi * 0.35**3, rel=0.02)
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    forth, back = edges[:, 0] * 10**6 + edges[:, 1], edges[:, 1] * 10**6 + edges[:, 0]
    assert torch.equal(forth.sort().values, back.sort().values)


def test_nothing_inside_is_no_surface() -> None:
    mesh = extract_mesh(sphere(8, -1.0, 9.0))
    assert len(mesh.vertices) == len(mesh.faces) == 0


def test_every_crossed_edge_is_in_one_loop_of_at_least_three() -> None:
    loops, counts = loop_of_edge()
    for pattern in range(256):
        crossed = [(pattern >> a & 1) != (pattern >> b & 1) for a, b in EDGES]
        assert [loop >= 0 for loop in loops[pattern].tolist()] == crossed
        sizes = torch.bincount(loops[pattern][loops[pattern] >= 0], minlength=int(counts[pattern]))
        assert sizes.numel() <= 4 and (sizes >= 3).all() and (sizes <= 7).all()
    assert int(ambiguous_faces().any(1).sum()) == 36
