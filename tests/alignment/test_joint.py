"""The scene's least squares: against a general optimiser, and what every kind of term does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from alignment.joint import WORLD, Residual, solve_scales
from alignment.robust import HUBER_DELTA_SIGMAS
from scene.types import Float64


def cost(scales: Float64, terms: list[Residual]) -> float:
    """Half of the squares, hinges and Huber's losses, written out."""
    total = 0.0
    for t in terms:
        back = 0.0 if t.back == WORLD else scales[t.back]
        residual = (scales[t.front] - back - t.target) / t.sigma
        if t.one_sided and residual <= 0:
            continue
        size = abs(residual)
        if t.robust and size > HUBER_DELTA_SIGMAS:
            total += HUBER_DELTA_SIGMAS * (size - HUBER_DELTA_SIGMAS / 2)
        else:
            total += size**2 / 2
    return total


def random_problem(seed: int) -> tuple[list[Residual], Float64]:
    """Up to six objects that the map places, and twice as many terms that contradict each other."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    start = rng.normal(0, 0.3, count)
    terms = [Residual("points", k, WORLD, start[k], rng.uniform(0.005, 0.05)) for k in range(count)]
    for _ in range(2 * count):
        front, back = rng.permutation([*range(count), WORLD])[:2]
        if front == WORLD:
            front, back = back, front
        behind = 0.0 if back == WORLD else start[back]
        target = float(start[front] - behind + rng.normal(0, 0.05))
        kind = rng.integers(3)
        sigma = float(rng.uniform(0.002, 0.03))
        terms.append(
            Residual(
                "any", int(front), int(back), target, sigma, one_sided=kind == 1, robust=kind == 2
            )
        )
    return terms, start


@pytest.mark.parametrize("seed", range(25))
def test_the_solution_is_that_of_a_general_optimiser(seed: int) -> None:
    terms, start = random_problem(seed)
    found = solve_scales(terms, start)
    best = start
    for method in ("BFGS", "Nelder-Mead", "BFGS"):  # the slope jumps at hinges and in Huber's loss
        options = {"maxiter": 4000} if method == "BFGS" else {"maxiter": 4000, "fatol": 1e-12}
        best = minimize(cost, best, (terms,), method, options=options).x
    assert cost(found, terms) <= cost(best, terms) * (1 + 1e-6) + 1e-9
    np.testing.assert_allclose(found, best, atol=2e-4)


@pytest.mark.parametrize("seed", range(25))
def test_no_small_move_is_better(seed: int) -> None:
    """The problem is convex: what cannot be bettered nearby is the best of all."""
    terms, start = random_problem(seed)
    found, rng = solve_scales(terms, start), np.random.default_rng(seed)
    least = cost(found, terms)
    for size in (1e-5, 1e-4, 1e-2):
        for _ in range(20):
            assert cost(found + size * rng.normal(size=len(found)), terms) >= least * (1 - 1e-9)


def test_the_start_does_not_matter() -> None:
    terms, start = random_problem(3)
    again = solve_scales(terms, start + np.random.default_rng(0).normal(0, 0.2, len(start)))
    np.testing.assert_allclose(again, solve_scales(terms, start), atol=1e-8)


def test_squares_alone_are_a_weighted_mean() -> None:
    terms = [Residual("points", 0, WORLD, 0.0, 0.01), Residual("plane", 0, WORLD, 0.03, 0.02)]
    assert solve_scales(terms, np.array([0.5]))[0] == pytest.approx(0.03 / 5)


def test_a_satisfied_hinge_does_nothing() -> None:
    """One that holds at the solution, though not at the start."""
    points = [Residual("points", k, WORLD, depth, 0.01) for k, depth in enumerate((0.0, 0.5))]
    hinge = Residual("penetration", 0, 1, -0.2, 1e-4, one_sided=True)
    start = np.array([0.4, 0.5])
    np.testing.assert_allclose(solve_scales([*points, hinge], start), [0, 0.5], atol=1e-9)


def test_a_violated_hinge_is_met_in_the_middle() -> None:
    """Two equally certain objects share the move; the more certain one moves less."""
    points = [Residual("points", k, WORLD, 0.0, 0.01) for k in range(2)]
    hinge = Residual("penetration", 0, 1, -0.02, 1e-5, one_sided=True)
    np.testing.assert_allclose(
        solve_scales([*points, hinge], np.zeros(2)), [-0.01, 0.01], atol=1e-6
    )
    certain = [points[0], replace(points[1], sigma=0.01 / 3)]
    np.testing.assert_allclose(
        solve_scales([*certain, hinge], np.zeros(2)), [-0.018, 0.002], atol=1e-6
    )


def test_what_no_term_touches_keeps_its_start() -> None:
    start = np.array([0.7, -0.3, 0.1])
    np.testing.assert_array_equal(solve_scales([], start), start)
    found = solve_scales([Residual("points", 1, WORLD, 0.2, 0.01)], start)
    np.testing.assert_allclose(found, [0.7, 0.2, 0.1], atol=1e-9)
    satisfied = [Residual("order", 0, 2, 2.0, 0.01, one_sided=True)]
    np.testing.assert_allclose(solve_scales(satisfied, start), start, atol=1e-9)
    assert solve_scales([], np.zeros(0)).shape == (0,)


def test_a_wrong_contact_pulls_no_harder_than_hubers_limit() -> None:
    """However far off it is; as a square it would drag the object along."""
    points = Residual("points", 0, WORLD, 0.0, 0.01)
    for off in (0.1, 1.0, 10.0):
        wrong = Residual("contact", 0, WORLD, off, 0.01, robust=True)
        (found,) = solve_scales([points, wrong], np.zeros(1))
        assert found == pytest.approx(HUBER_DELTA_SIGMAS * 0.01, rel=1e-6)
        (dragged,) = solve_scales([points, replace(wrong, robust=False)], np.zeros(1))
        assert dragged == pytest.approx(off / 2)


def test_a_chain_of_contacts_is_carried_through() -> None:
    """Only the lowest of ten is placed by the map; each rests on the one below."""
    terms = [Residual("points", 0, WORLD, 0.3, 0.01)]
    terms += [Residual("contact", k, k - 1, -0.05, 0.002, robust=True) for k in range(1, 10)]
    np.testing.assert_allclose(
        solve_scales(terms, np.zeros(10)), 0.3 - 0.05 * np.arange(10), atol=1e-6
    )
