"""Umeyama's similarity (M7): any pose comes back, and it equals CUPID's released aligner."""

import json
from pathlib import Path

import numpy as np
import pytest

from alignment.baselines.refit import fit_scale
from alignment.baselines.scale_depth import solve_scale_depth
from alignment.baselines.similarity import rotation_and_scale, solve_similarity, umeyama
from scene.types import Float64, Similarity
from support import ROOT
from support.photographed import angle_rad, spun

TRUNCATION = 0.15
PARITY = ROOT.parent / "shared" / "parity" / "cupid_align.safetensors"


def random_similarity(rng: np.random.Generator) -> Similarity:
    """Any size from 0.1 to 7, any turn, anywhere before the camera."""
    scale = float(np.exp(rng.uniform(-2, 2)))
    way = np.array([*rng.uniform(-1, 1, 2), rng.uniform(1, 8)])
    return Similarity(scale, spun(rng, rng.uniform(0, np.pi)), scale * way)


@pytest.mark.parametrize("seed", range(200))
def test_any_similarity_comes_back(seed: int) -> None:
    """C12.1, M7: from exact points, to 1e-6 through the robust solver, plainly to 1e-9."""
    rng = np.random.default_rng(seed)
    true, cube = random_similarity(rng), rng.uniform(-0.5, 0.5, (60, 3))
    measured = true.apply(cube)
    plain = umeyama(cube, measured, rng.uniform(0.1, 2, 60))
    np.testing.assert_allclose(plain.matrix, true.matrix, rtol=0, atol=1e-9 * true.scale)
    robust = solve_similarity(cube, measured, 2.0, TRUNCATION)
    np.testing.assert_allclose(robust.matrix, true.matrix, rtol=0, atol=1e-6 * true.scale)


def test_a_flat_patch_does_not_tell_its_turn_but_its_scale_and_depth() -> None:
    """C12.7: a fronto-parallel plane, 3 % noise along the rays, 60 draws of it and of a deep body:
    the turn of M7 spreads over degrees, the depth of M1 and M2 is known to a few per mille."""

    def spread(deep: float, solve) -> tuple[float, float]:
        """Standard deviation of D over its mean, and rms turn in degrees."""
        depths, turns = [], []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            cube = rng.uniform(-1, 1, (300, 3)) * [0.1, 0.1, deep]
            measured = (cube + [0, 0, 2]) * rng.normal(1, 0.03, (300, 1))
            found = solve(cube, measured, 2.0, TRUNCATION)
            depths.append(found.translation[2])
            turns.append(np.degrees(angle_rad(found.rotation)))
        return float(np.std(depths) / np.mean(depths)), float(np.sqrt(np.mean(np.square(turns))))

    _, turn_of_patch = spread(0.0, solve_similarity)
    _, turn_of_body = spread(0.5, solve_similarity)
    assert turn_of_patch > 3 and turn_of_patch > 3 * turn_of_body
    for solve in (fit_scale, solve_scale_depth):
        depth, turn = spread(0.0, solve)
        assert depth < 0.003 and turn == 0


def test_a_mirrored_cloud_gets_a_rotation_and_no_reflection() -> None:
    rng = np.random.default_rng(3)
    cube = rng.uniform(-0.5, 0.5, (60, 3))
    found = umeyama(cube, cube * [-1, 1, 1] + [0, 0, 3], np.ones(60))
    assert np.linalg.det(found.rotation) == pytest.approx(1, abs=1e-12)


def _tensors(path: Path) -> dict[str, Float64]:
    """The float32 tensors of a safetensors file: length of the header, header (JSON), data."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    assert all(entry["dtype"] == "F32" for entry in header.values())
    tensors = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]).astype(float)
    return tensors


@pytest.mark.skipif(not PARITY.exists(), reason="no ../shared/parity beside the project")
@pytest.mark.parametrize("cloud", range(3))
def test_umeyama_equals_cupids_aligner(cloud: int) -> None:
    """CUPID's rows are s x R + T, its R our transpose; the last cloud is mirrored."""
    told = {name: tensor[cloud] for name, tensor in _tensors(PARITY).items()}
    x, y = told["inputs/X"], told["inputs/Y"]
    close = {"atol": 1e-4, "rtol": 0}
    for suffix, scale in (("", None), ("_noscale", 1.0)):
        found = umeyama(x, y, np.ones(len(x)), scale)
        np.testing.assert_allclose(found.rotation.T, told[f"outputs/R{suffix}"], **close)
        np.testing.assert_allclose(found.translation, told[f"outputs/T{suffix}"], **close)
    free = umeyama(x, y, np.ones(len(x)))
    np.testing.assert_allclose(free.scale, told["outputs/s"], **close)
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = free.rotation, free.translation
    source = told["inputs/src_extrinsic"].copy()
    source[:3, 3] *= free.scale
    np.testing.assert_allclose(view @ source, told["outputs/aligned_extrinsic"], **close)


@pytest.mark.skipif(not PARITY.exists(), reason="no ../shared/parity beside the project")
@pytest.mark.parametrize("cloud", range(3))
def test_weighted_turn_and_scale_equal_cupids_aligner(cloud: int) -> None:
    """CUPID weights both centred sets, so that its covariance has the weights squared."""
    told = {name: tensor[cloud] for name, tensor in _tensors(PARITY).items()}
    x, y, weight = told["inputs/X"], told["inputs/Y"], told["inputs/weights"]
    mean_x, mean_y = (np.average(points, axis=0, weights=weight) for points in (x, y))
    rotation, scale = rotation_and_scale(x - mean_x, y - mean_y, weight**2)
    close = {"atol": 1e-4, "rtol": 0}
    np.testing.assert_allclose(rotation.T, told["outputs/R_weighted"], **close)
    np.testing.assert_allclose(scale, told["outputs/s_weighted"], **close)
    translation = mean_y - scale * rotation @ mean_x
    np.testing.assert_allclose(translation, told["outputs/T_weighted"], **close)
