"""Cores that may be used, and work done side by side on them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from scene import cores
from scene.cores import VARIABLE, side_by_side, usable_cores
from scene.errors import BadInput


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Eight cores, no quota, no variable."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 64)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "CGROUP_QUOTA", quota)
    return quota


@pytest.mark.parametrize(
    ("quota", "given", "expected"),
    [
        (None, "", 8),
        (None, "3", 3),
        (None, " 100 ", 8),
        ("max 100000", "", 8),
        ("250000 100000", "", 3),
        ("50000 100000", "6", 1),
        ("0 0", "", 8),
        ("nonsense", "", 8),
    ],
)
def test_the_narrowest_limit_counts(
    quota: str | None, given: str, expected: int, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    if quota is not None:
        machine.write_text(f"{quota}\n")
    assert usable_cores() == expected


@pytest.mark.parametrize("given", ["0", "-2", "two", "1.5", "²"])
def test_a_variable_that_is_no_number_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(BadInput, match=f"{VARIABLE}={given}: expected a number of cores"):
        usable_cores()


def test_results_are_in_order_whoever_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(value: int) -> tuple[int, int]:
        both.wait()  # ends only where two are at work at once
        return value, threading.get_ident()

    monkeypatch.setenv(VARIABLE, "2")
    found = side_by_side(meet, iter([4, 3, 2, 1]))
    assert [value for value, _ in found] == [4, 3, 2, 1]
    assert len({thread for _, thread in found}) == 2


def test_one_core_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert set(side_by_side(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}


def test_the_first_failure_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda value: 1 / value, [1, 0, 2])
