"""Is a remembered result the function's own, and does it forget in order?"""

import numpy as np

from stages.segment.shared.memory import remembered


def test_equal_content_is_computed_once_and_other_content_again() -> None:
    calls: list[tuple] = []

    @remembered(2)
    def total(a: np.ndarray, b: np.ndarray) -> float:
        calls.append((a.shape, a.dtype))
        return float(a.sum() + b.sum())

    zeros = np.zeros((2, 3))
    assert total(zeros, np.ones(2)) == total(zeros.copy(), np.ones(2)) == 2
    assert len(calls) == 1
    assert total(zeros.reshape(3, 2), np.ones(2)) == 2  # the same bytes, another shape
    assert total(zeros.astype(np.float32), np.ones(2)) == 2
    assert len(calls) == 3
    assert total(zeros, np.ones(2)) == 2  # forgotten since: two newer ones came
    assert len(calls) == 4


def test_a_part_of_an_array_counts_with_its_own_values() -> None:
    @remembered(4)
    def total(a: np.ndarray) -> float:
        return float(a.sum())

    values = np.arange(12).reshape(3, 4)
    assert total(values[:, ::2]) == values[:, ::2].sum()
    assert total(values[:, 1::2]) == values[:, 1::2].sum()
