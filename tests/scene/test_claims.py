"""A key is computed by one at a time: threads of a process, and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scene import child
from scene.claims import Claims, claims_at
from scene.keys import digest

KEY, OTHER = digest(b"one"), digest(b"two")
HOLD = """
import sys
from pathlib import Path
from scene.claims import claims_at
with claims_at(Path(sys.argv[1])).claim(sys.argv[2], wait=False) as claimed:
    print(claimed, flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that claims KEY until it is told to go on, or dies."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), KEY], env=child.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def test_what_another_process_holds_is_free_again_when_it_dies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "scene.claims")
    claims, process = claims_at(tmp_path / "claims"), holder(tmp_path / "claims")
    with claims.claim(KEY, wait=False) as claimed, claims.claim(OTHER, wait=False) as other:
        assert (claimed, other) == (False, True)
    waited = threading.Event()

    def wait() -> None:
        with claims.claim(KEY) as claimed:
            assert claimed
            waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    end = time.monotonic() + 60
    while not caplog.records and time.monotonic() < end:
        assert not waited.wait(0.1)
    assert [r.message.split(",")[0] for r in caplog.records] == ["waiting for another process"]
    process.kill()
    thread.join(60)
    assert waited.is_set()
    process.communicate()


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    claims = claims_at(tmp_path / "claims")
    assert claims_at(tmp_path / "claims") is claims
    with claims.claim(KEY) as first:
        with claims.claim(KEY, wait=False) as second:
            assert (first, second) == (True, False)
        assert holder_says(tmp_path / "claims") == "False"
    assert holder_says(tmp_path / "claims") == "True"


def test_a_place_that_takes_no_file_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Claims(tmp_path / "file" / "claims").claim(KEY, wait=False) as claimed:
        assert claimed


def holder_says(path: Path) -> str:
    """What a process finds that claims KEY for a moment."""
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(path), KEY], env=child.environment(), text=True,
        input="\n", capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()
