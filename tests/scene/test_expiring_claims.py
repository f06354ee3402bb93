"""A key is computed by one at a time where claims have to be renewed: in stores without locks."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scene.blobs import FolderBlobs
from scene.expiring_claims import LAPSE_S, ExpiringClaims, live_claims
from scene.keys import digest

KEY = digest(b"one")
LONG_AGO_S = time.time() - 10 * LAPSE_S


def age(folder: Path, generation: int) -> None:
    """Nobody has renewed this claim for long."""
    os.utime(folder / "claims" / f"{KEY}.{generation}", (LONG_AGO_S, LONG_AGO_S))


def test_a_held_key_is_free_again_when_it_is_released(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    one, other = ExpiringClaims(blobs), ExpiringClaims(blobs)
    with one.claim(KEY) as first, one.claim(KEY, wait=False) as again:
        with other.claim(KEY, wait=False) as second, other.claim(digest(b"two")) as another:
            assert (first, again, second, another) == (True, False, False, True)
        assert live_claims(blobs) == 1
    assert list(blobs.listed("claims")) == []
    with other.claim(KEY, wait=False) as claimed:
        assert claimed


def test_what_nobody_renews_lapses_and_its_holder_leaves_it(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    gone, heir, third = (ExpiringClaims(blobs) for _ in range(3))
    with gone.claim(KEY):
        age(tmp_path, 1)
        assert live_claims(blobs) == 0
        with heir.claim(KEY) as claimed, third.claim(KEY, wait=False) as refused:
            assert (claimed, refused) == (True, False)
            assert [e.name for e in blobs.listed("claims")] == [
                f"claims/{KEY}.1", f"claims/{KEY}.2"
            ]  # fmt: skip


def test_one_that_was_cut_off_removes_no_claim(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with ExpiringClaims(blobs, lapse_s=0.0).claim(KEY):
        pass  # it lapsed at once
    assert [e.name for e in blobs.listed("claims")] == [f"claims/{KEY}.1"]


def test_a_claim_is_renewed_as_long_as_it_is_held(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with ExpiringClaims(blobs, renewal_s=0.01).claim(KEY):
        age(tmp_path, 1)
        end = time.monotonic() + 60
        while not live_claims(blobs) and time.monotonic() < end:
            time.sleep(0.01)
        assert live_claims(blobs) == 1
    assert live_claims(blobs) == 0


def test_of_many_at_once_one_holds_the_key(tmp_path: Path) -> None:
    blobs, together = FolderBlobs(tmp_path), threading.Barrier(8)
    held, most = [], []

    def work() -> None:
        claims = ExpiringClaims(blobs)
        together.wait()
        for _ in range(5):
            with claims.claim(KEY, wait=False) as claimed:
                if claimed:
                    held.append(1)
                    most.append(len(held))
                    held.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most and set(most) == {1}


@dataclass(frozen=True)
class LostAnswers(FolderBlobs):
    """Whose answer to the first creation of a name is lost: the repeated request finds it taken."""

    lost: set[str] = field(default_factory=set)

    def create(self, name: str, data: bytes) -> bool:
        """Create it, and report so only if it was there before the answer was lost."""
        created = super().create(name, data)
        if created and name not in self.lost:
            self.lost.add(name)
            return False
        return created


@pytest.mark.parametrize("wait", [True, False])
def test_a_claim_whose_answer_is_lost_is_held_all_the_same(tmp_path: Path, wait: bool) -> None:
    blobs = LostAnswers(tmp_path)
    with ExpiringClaims(blobs).claim(KEY, wait) as claimed:
        assert claimed
        with ExpiringClaims(blobs).claim(KEY, wait=False) as second:
            assert not second
