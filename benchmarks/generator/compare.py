"""Do two ways to the same numbers agree, and how much faster and lighter is the second?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.generator.machine import UNKNOWN, Cost, gigabytes, measured
from benchmarks.narrow import table

ROUNDS = {"cpu": 2, "cuda": 5}
# Short comparisons go on for a while: the least of several is steadier.
SHORT_S, MAX_ROUNDS = 8.0, 8
COLUMNS = (
    "what", "measured with", "before", "after", "times faster", "memory before", "memory after",
    "times lighter", "largest difference (allowed)",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Before and after. difference: the largest of any value, over the largest value; tolerance:
    what is allowed of it."""

    what: str
    setting: str
    before: Cost
    after: Cost
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether both gave the same numbers."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class NotMeasured:
    """A comparison that could not be made, and why."""

    what: str
    setting: str
    reason: str
    agrees = True


def compare(
    what: str,
    setting: str,
    variants: tuple[Callable[[], Tensor], Callable[[], Tensor]],
    device: torch.device,
    tolerance: float,
    rounds: int | None = None,
) -> Comparison:
    """Run before and after in turn, several times: the least time and the most memory of each."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    results: list[Tensor] = []
    while _wants_more(costs, rounds or ROUNDS[device.type]):
        results = []
        for variant, spent in zip(variants, costs, strict=True):
            result, cost = measured(variant, device)
            results.append(result)
            spent.append(cost)
    before, after = (_summary(spent) for spent in costs)
    return Comparison(what, setting, before, after, difference(*results), tolerance)


def _wants_more(costs: tuple[list[Cost], list[Cost]], rounds: int) -> bool:
    done, passed_s = len(costs[0]), sum(cost.seconds for variant in costs for cost in variant)
    return done < rounds or (done < MAX_ROUNDS and passed_s < SHORT_S)


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference over the largest expected value; infinite for other shapes or NaN."""
    if expected.shape != found.shape:
        return float("inf")
    largest = float((expected.double() - found.double()).abs().max())
    relative = largest / max(float(expected.double().abs().max()), 1e-30)
    return relative if relative == relative else float("inf")


def _summary(costs: Sequence[Cost]) -> Cost:
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Cost(min(cost.seconds for cost in costs), max(peaks, default=None))


def comparison_table(rows: Sequence[Comparison | NotMeasured]) -> str:
    """One row per comparison."""
    return table(COLUMNS, [_row(row) for row in rows])


def _row(row: Comparison | NotMeasured) -> list[str]:
    if isinstance(row, NotMeasured):
        return [row.what, row.setting, f"{UNKNOWN} ({row.reason})", *["-"] * (len(COLUMNS) - 3)]
    lighter = "-"
    if row.before.peak_bytes and row.after.peak_bytes:
        lighter = f"{row.before.peak_bytes / row.after.peak_bytes:.1f}"
    verdict = "" if row.agrees else "DIFFERS: "
    return [
        row.what,
        row.setting,
        f"{row.before.seconds:.3g} s",
        f"{row.after.seconds:.3g} s",
        f"{row.before.seconds / row.after.seconds:.2f}",
        gigabytes(row.before.peak_bytes),
        gigabytes(row.after.peak_bytes),
        lighter,
        f"{verdict}{row.difference:.1g} ({row.tolerance:g})",
    ]
