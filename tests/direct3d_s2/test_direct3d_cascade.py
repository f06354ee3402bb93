"""The whole cascade with tiny random weights: closed meshes in the cube, the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

import direct3d_s2  # noqa: E402
from direct3d_s2 import Sampler  # noqa: E402
from direct3d_s2.schedule import noise_levels, sample  # noqa: E402
from photoscene.self_test.tiny_direct3d import write_tiny_checkpoint  # noqa: E402

FEW_STEPS = {name: Sampler(2, 2.0) for name in ("dense", "sparse_512", "sparse_1024")}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "released")


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "aligned", pixel_aligned=True)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


def cutout(side: int = 64) -> np.ndarray:
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[10:50, 16:44] = (180, 90, 40, 255)
    rgba[20:30, 20:30, :3] = (20, 60, 200)
    return rgba


def check_mesh(made: direct3d_s2.Generated, resolution: int) -> None:
    assert made.resolution == resolution
    assert len(made.faces) > 100 and made.vertices.abs().max() <= 0.5
    edges = torch.cat([made.faces[:, [0, 1]], made.faces[:, [1, 2]], made.faces[:, [2, 0]]])
    there, back = (edges[:, a] * (1 << 32) + edges[:, 1 - a] for a in (0, 1))
    assert torch.equal(there.sort().values, back.sort().values)


@pytest.mark.slow
def test_released_networks_make_a_closed_mesh(released: Path) -> None:
    checkpoint = direct3d_s2.open_checkpoint(released)
    image = direct3d_s2.framed(cutout(), checkpoint.image_size)
    options = direct3d_s2.GenerationOptions(1024, 3, FEW_STEPS)
    steps: list[tuple[str, int, int]] = []
    made = direct3d_s2.generate(image, checkpoint, options, on_step=lambda *s: steps.append(s))
    check_mesh(made, 64)
    assert steps == [(n, i, 2) for n in FEW_STEPS for i in (1, 2)]


@pytest.mark.long
@pytest.mark.slow
def test_views_make_a_pixel_aligned_mesh_that_the_image_decides(aligned: Path) -> None:
    checkpoint = direct3d_s2.open_checkpoint(aligned)
    options = direct3d_s2.GenerationOptions(512, 3, FEW_STEPS)
    size = checkpoint.image_size
    front = direct3d_s2.front_view(cutout(), 0.4, size)
    made = direct3d_s2.generate([front], checkpoint, options)
    check_mesh(made, 32)
    again = direct3d_s2.generate([front], checkpoint, options)
    assert torch.equal(made.vertices, again.vertices) and torch.equal(made.faces, again.faces)
    other = direct3d_s2.front_view(cutout()[:, ::-1].copy(), 0.4, size)
    changed = direct3d_s2.generate([front, other], checkpoint, options)
    check_mesh(changed, 32)
    assert not torch.equal(made.vertices, changed.vertices)


def test_what_does_not_belong_together_is_refused(released: Path, aligned: Path) -> None:
    front = [direct3d_s2.front_view(cutout(), 0.4, 56)]
    with pytest.raises(ValueError, match="framed image, not views"):
        direct3d_s2.generate(front, direct3d_s2.open_checkpoint(released))
    with pytest.raises(ValueError, match="views, not a framed image"):
        direct3d_s2.generate(front[0].image, direct3d_s2.open_checkpoint(aligned))


def test_the_last_noise_level_is_shifted_twice() -> None:
    """By hand for a shift of 6: 6/1000 / (1 + 5/1000), then the same of that."""
    least = 0.006 / 1.005
    assert noise_levels(Sampler(2, shift=6)) == [1, pytest.approx(6 * least / (1 + 5 * least)), 0]


@pytest.mark.slow  # imports diffusers
@pytest.mark.parametrize(("steps", "shift"), [(50, 6.0), (15, 8.0), (2, 1.0)])
def test_noise_levels_are_those_of_the_scheduler(steps: int, shift: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(1000, shift=shift)
    scheduler.set_timesteps(steps)
    levels = noise_levels(Sampler(steps, shift=shift))
    assert levels == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


def test_sampling_follows_a_straight_flow_to_its_data() -> None:
    data, noise = torch.tensor([1.0, -2.0]), torch.tensor([0.3, 0.4])
    times: list[float] = []

    def velocity(x: torch.Tensor, time: float) -> torch.Tensor:
        times.append(time)
        return noise - data

    *_, last = sample(velocity, lambda x, t: torch.full_like(x, 9), noise, Sampler(5, guidance=1))
    torch.testing.assert_close(last, data)
    assert times[0] == 1000 and len(times) == 5
    guided = next(sample(velocity, lambda x, t: 0 * x, noise, Sampler(1, guidance=3)))
    torch.testing.assert_close(guided, noise - 3 * (noise - data))
