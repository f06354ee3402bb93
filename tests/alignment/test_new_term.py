"""A term of one's own is two files: the one that docs/placement.md shows, and the list of terms."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from alignment.terms import TERMS, TermWeights
from support import ROOT

PLACE = """
import json
from scene.files import fit_from_json, fit_to_json
from stages import place
from stages.place import pixel_aligned
from support.photographed import block, photographed_table

boxes = [block("a", (-0.2, 0, 0), (-0.1, 0.1, 0.1)), block("b", (0, 0, 0), (0.11, 0.1, 0.1))]
scene = photographed_table(boxes)
reported = []
for weight in (0.0, 1e4):
    placer = pixel_aligned.load(pixel_aligned.Settings(same_size=weight), "cpu")
    placed = place.run(placer, scene.objects, scene.point_map, scene.masks)
    fits = [fit_from_json(fit_to_json(p.fit)) for p in placed.placements]
    reported.append([[(f.name, f.value) for f in fit.figures] for fit in fits])
print(json.dumps(reported))
"""


def test_a_term_as_the_page_shows_it_acts_and_is_reported(tmp_path: Path) -> None:
    for package in ("alignment", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package)
    page = (ROOT / "docs" / "placement.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    (tmp_path / "alignment" / "terms" / "same_size.py").write_text(code[1])
    listed = tmp_path / "alignment" / "terms" / "__init__.py"
    text = listed.read_text("utf-8")
    for old, new in (
        ("order, penetration, plane\n", "order, penetration, plane, same_size\n"),
        ("order.TERM)", "order.TERM, same_size.TERM)"),
        ("    order: float = 1.0\n", "    order: float = 1.0\n    same_size: float = 0.0\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    listed.write_text(text)
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", PLACE]
    done = subprocess.run(command, env=path, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    off, on = json.loads(done.stdout)
    assert off == [[], []]
    assert [[name for name, _ in figures] for figures in on] == [["relative size"]] * 2
    np.testing.assert_allclose([figures[0][1] for figures in on], 1.0, atol=1e-3)


def test_every_term_has_a_weight() -> None:
    assert {t.name for t in TERMS} == vars(TermWeights()).keys()
