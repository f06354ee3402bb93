"""A few procedural samples, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

SHAPES, TABLES_DRAWN = 24, 8


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples of 64 pixels: two shards of shapes, one of what stands on tables."""
    from training.generator import make_data
    from training.generator.shapes.grammar import TABLE

    folder, seeds = tmp_path_factory.mktemp("samples") / "64", (10**6, 10**6 + 500)
    jobs = [make_data.Job(folder / f"shapes_{s}", 64, SHAPES // 2, s) for s in seeds]
    tables = make_data.Job(folder / "tables_0", 64, TABLES_DRAWN, 5 * 10**6, TABLE)
    for job in [*jobs, tables]:
        make_data.make_shard(job)
    return folder.parent
