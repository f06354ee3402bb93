"""Turns the trials of the placement sweep into tables, a verdict and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.narrow import table as markdown_table
from benchmarks.perturb import Row
from benchmarks.placement_errors import Errors
from benchmarks.report import replace_section
from scene.types import Float64

OURS = "pixel_aligned"
ABLATION = "M1 alone"  # ours without the scene's terms: shown, but no competitor
SLACK = 0.001  # relative error below which a difference does not matter
PLOT = "placement_sweep.png"


@dataclass(frozen=True)
class Figure:
    """One error to report: heading, how it is read, and its unit's factor."""

    title: str
    read: Callable[[Errors], float]
    factor: float = 100.0


FIGURES = {
    "translation": Figure("Translation error, % of the distance", lambda e: e.translation),
    "size": Figure("Size error, %", lambda e: e.size),
    "depth": Figure("Depth error, % of the distance", lambda e: e.depth),
    "rotation": Figure("Rotation error, degrees, modulo symmetry", lambda e: e.rotation_deg, 1.0),
    "outline": Figure("Outline error, 100 (1 - silhouette IoU)", lambda e: e.outline),
}


@dataclass(frozen=True)
class Trial:
    """What every method made of one row and seed: errors per object, milliseconds per object."""

    row: str
    errors: dict[str, list[Errors]]
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class Sweep:
    """All trials of some rows and methods."""

    rows: tuple[Row, ...]
    methods: tuple[str, ...]
    trials: Sequence[Trial]

    def means(self, row: str, method: str, figure: Figure) -> Float64:
        """(seeds,) mean error over the objects of every seed."""
        found = [t.errors[method] for t in self.trials if t.row == row]
        means = [float(np.mean([figure.read(e) for e in errors])) for errors in found]
        return np.array(means, np.float64)

    def all(self, row: str, method: str, figure: Figure) -> Float64:
        """(objects of all seeds,) errors."""
        found = [e for t in self.trials if t.row == row for e in t.errors[method]]
        return np.array([figure.read(e) for e in found])


def write_sweep(sweep: Sweep, document: Path) -> str:
    """Write every table and the plot beside the document; the summary comes back."""
    for figure in FIGURES.values():
        replace_section(document, figure.title, table(sweep, figure))
    replace_section(document, "Milliseconds per object", _milliseconds(sweep))
    summary = verdict(sweep)
    replace_section(document, "Verdict", summary)
    plot(sweep, document.parent / PLOT)
    return summary


def table(sweep: Sweep, figure: Figure) -> str:
    """Mean and 95 % interval per row and method; the best of all methods of a row in bold."""
    rows = []
    for row in sweep.rows:
        found = [figure.factor * sweep.means(row.name, m, figure) for m in sweep.methods]
        best = min(float(f.mean()) for f in found)
        cells = [_cell(f, bold=row.noisy and float(f.mean()) == best) for f in found]
        rows.append([row.name, *cells])
    return compared_with_ours(["row", *sweep.methods], rows)


def compared_with_ours(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Tables of at most three methods, each with ours (the second column) beside them."""
    tables = []
    for first in range(2, len(header), 3):
        shown = [0, 1, *range(first, min(first + 3, len(header)))]
        columns, *cells = ([line[k] for k in shown] for line in (header, *rows))
        tables.append(markdown_table(columns, cells))
    return "\n\n".join(tables)


def verdict(sweep: Sweep) -> str:
    """Ours against every other method: rows in which it is worse, and how often it is best."""
    rivals = [m for m in sweep.methods if m not in (OURS, ABLATION)]
    noisy = [row.name for row in sweep.rows if row.noisy]
    lines = []
    for name in ("translation", "size"):
        figure = FIGURES[name]
        best = [
            row for row in noisy if all(_difference(sweep, row, m, figure)[0] < 0 for m in rivals)
        ]
        surely = [
            row for row in noisy if all(_difference(sweep, row, m, figure)[2] < 0 for m in rivals)
        ]
        worse = [
            f"{row.name} (by {100 * mean:.3f} % against {m})"
            for row in sweep.rows for m in rivals
            if (mean := (d := _difference(sweep, row.name, m, figure))[0]) > SLACK and d[1] > 0
        ]  # fmt: skip
        lines.append(
            f"- {name}: best of all methods in {len(best)} of {len(noisy)} noisy rows "
            f"({len(best) / len(noisy):.0%}), beyond the 95 % interval in {len(surely)}; worse "
            f"than another beyond the interval and 0.1 % in {len(worse)}"
            + (": " + "; ".join(worse) if worse else "") + "."
        )  # fmt: skip
        missed = [row for row in noisy if row not in best]
        if missed:
            lines.append(f"  Not the best in: {', '.join(missed)}.")
    hard = "35 % outliers, noise 5 %"
    if hard in noisy:
        depth = np.median(sweep.all(hard, OURS, FIGURES["depth"]))
        lines.append(f"- median depth error at {hard}: {100 * depth:.3f} %.")
    true_shapes = [r.name for r in sweep.rows if "shape" not in r.name]
    worst = min(1 - sweep.all(r, OURS, FIGURES["outline"]).max() for r in true_shapes)
    lines.append(f"- least silhouette IoU of any object, true shapes, all rows: {worst:.4f}.")
    return "\n".join(lines)


def plot(sweep: Sweep, path: Path) -> None:
    """Translation and size errors of all rows and methods, as horizontal dots."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    rows = [row.name for row in sweep.rows if row.noisy]
    height = 0.27 * len(rows) + 1.6
    figure, axes = pyplot.subplots(1, 2, figsize=(12, height), sharey=True)
    for axis, name in zip(axes, ("translation", "size"), strict=True):
        for k, method in enumerate(sweep.methods):
            values = [sweep.means(row, method, FIGURES[name]) for row in rows]
            middle = [100 * v.mean() for v in values]
            spread = [100 * _half_interval(v) for v in values]
            ours = method == OURS
            at = np.arange(len(rows)) + (k - len(sweep.methods) / 2) * 0.09
            axis.errorbar(
                middle, at, xerr=spread, fmt="D" if ours else "o", markersize=6 if ours else 4,
                linewidth=1, label=method, color="black" if ours else f"C{k}",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_title(FIGURES[name].title)
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].invert_yaxis()
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _cell(values: Float64, bold: bool) -> str:
    text = f"{values.mean():.3f} ± {_half_interval(values):.3f}"
    return f"**{text}**" if bold else text


def _difference(sweep: Sweep, row: str, method: str, figure: Figure) -> tuple[float, float, float]:
    """Ours minus another method, seed by seed: mean and the ends of its 95 % interval."""
    by_seed = sweep.means(row, OURS, figure) - sweep.means(row, method, figure)
    middle, half = float(by_seed.mean()), _half_interval(by_seed)
    return middle, middle - half, middle + half


def _half_interval(values: Float64) -> float:
    """Half of Student's 95 % interval of the mean."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def _milliseconds(sweep: Sweep) -> str:
    lines = ["| method | median | 90 % |", "|---|---|---|"]
    for method in sweep.methods:
        values = [t.milliseconds[method] for t in sweep.trials]
        lines.append(f"| {method} | {np.median(values):.0f} | {np.quantile(values, 0.9):.0f} |")
    return "\n".join(lines)
