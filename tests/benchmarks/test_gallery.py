"""Does the gallery say what it lacks?"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gallery import main


def test_without_photos_and_scenes_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert main(["--shared", nowhere, "--data", nowhere, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "data/photos is absent" in said and "nothing drawn" in said
    assert not (tmp_path / "out").exists()
