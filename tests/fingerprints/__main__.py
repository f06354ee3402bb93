"""Record the fingerprints of what is new or has a new version; refuses any other change.

    make fingerprints        (PYTHONPATH=tests python -m fingerprints)

Not for an output that changed without a new version: that is what the fingerprints are there to
find. An entry is taken out of tests/data/fingerprints.json by hand where its cases are changed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fingerprints.cases import all_cases
from fingerprints.records import (
    RECORDS,
    by_subject,
    entry_of,
    fault_of,
    read_records,
    write_records,
)
from scene.store import Store
from stages.devices import ModelPool
from support.extras import missing


def main() -> int:
    """Returns the exit status: 1 where an output changed under its old version."""
    records, refused = (read_records() if RECORDS.exists() else {}), 0
    grouped = by_subject(all_cases())
    with tempfile.TemporaryDirectory() as folder:
        store, pool = Store(Path(folder)), ModelPool()
        for subject, cases in grouped.items():
            if cases[0].needs and (remedy := missing(cases[0].needs)):
                print(f"{subject}: kept, {remedy}")
                continue
            now = entry_of(cases, store, pool)
            fault = fault_of(subject, records.get(subject), now, cases[0].rounding)
            if fault and fault.stale:
                print(fault.message, file=sys.stderr)
                refused += 1
            elif fault:
                records[subject] = now
                print(f"{subject}: recorded version {now['version']}")
    write_records({name: entry for name, entry in records.items() if name in grouped})
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
