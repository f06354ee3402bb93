"""What does the hub hold at a commit? Asked once, quickly, with errors that a person can act on.

huggingface_hub is imported inside the functions: listing and verifying models needs none.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scene.errors import CannotRun
from scene.proxies import through_proxy, unusable_proxy
from stages.model_table import ModelEntry

# Until the first answer; then a hub may take its time.
PATIENCE_S, ANSWER_S = 1.2, 30.0
INSTALL = "pip install 'huggingface-hub>=2.4,<3'"


@dataclass(frozen=True)
class Hub:
    """endpoint: its URL; offline: why it is not to be asked; patience_s: until its first answer."""

    endpoint: str
    offline: str = ""
    patience_s: float = PATIENCE_S


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: bytes, git blob id, and sha256 where it is a large one, else ""."""

    name: str
    bytes: int
    git_id: str
    sha256: str

    @property
    def content_name(self) -> str:
        """What names its content: the sha256, else the git blob id."""
        return self.sha256 or self.git_id


@dataclass(frozen=True)
class Listing:
    """All files of a repository at a commit."""

    commit: str
    files: tuple[RemoteFile, ...]


class HubUnreachable(CannotRun):
    """The hub may not or cannot be asked; the message says which."""


class HubRefused(CannotRun):
    """The hub answered, and does not give what was asked for; the message says what to do."""


def require_library() -> None:
    """Raises HubUnreachable with the remedy where huggingface_hub is not installed."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise HubUnreachable(f"huggingface_hub is not installed ({INSTALL})")


def check_reachable(hub: Hub) -> None:
    """Raises HubUnreachable unless the hub answers anything at all within its patience.

    Asked in a thread of its own, because looking a name up cannot be given a time limit.
    """
    if hub.offline:
        raise HubUnreachable(hub.offline)
    require_library()
    # Its import takes seconds on a busy machine, and is no part of the hub's time.
    from huggingface_hub.utils import get_session

    try:
        session = get_session()
    except (ImportError, ValueError) as error:  # httpx, of what the environment names
        raise HubUnreachable(unusable_proxy(hub.endpoint, error)) from None
    failures = _within(hub.patience_s, lambda: _ask_anything(session, hub))
    way = through_proxy(hub.endpoint)
    if failures is None:
        raise HubUnreachable(f"no answer from {hub.endpoint} within {hub.patience_s:g} s{way}")
    if failures:
        raise HubUnreachable(f"{hub.endpoint} cannot be reached{way} ({failures[0]})")


def list_files(hub: Hub, entry: ModelEntry, revision: str) -> Listing:
    """The files of a model's repository at a commit or branch.

    Raises HubUnreachable, or HubRefused where the repository or the revision is not to be had.
    """
    from huggingface_hub import HfApi

    with explained(hub, entry, revision):
        info = HfApi(endpoint=hub.endpoint).model_info(
            entry.repo, revision=revision, files_metadata=True, timeout=ANSWER_S
        )
    files = tuple(
        RemoteFile(s.rfilename, s.size or 0, s.blob_id or "", s.lfs.sha256 if s.lfs else "")
        for s in info.siblings or ()
    )
    if not info.sha or not all(f.content_name for f in files):
        raise HubRefused(f"{hub.endpoint} does not say what {entry.repo} holds: is it a hub?")
    return Listing(info.sha, files)


@contextmanager
def explained(hub: Hub, entry: ModelEntry, revision: str) -> Iterator[None]:
    """Turn the library's errors inside into HubRefused and HubUnreachable."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubRefused(_gated(entry, error.response.status_code)) from None
    except errors.RevisionNotFoundError:
        raise HubRefused(f"{entry.repo} has no commit {revision} any more") from None
    except errors.RepositoryNotFoundError:
        raise HubRefused(
            f"{hub.endpoint} has no repository {entry.repo}, or your token does not open it: "
            "see `hf auth whoami`"
        ) from None
    except errors.HfHubHTTPError as error:
        raise HubRefused(_status(hub, entry, error.response.status_code)) from None
    except httpx2.HTTPError as error:
        raise HubUnreachable(f"{hub.endpoint} broke off ({_cause(error)})") from None


def _gated(entry: ModelEntry, status: int) -> str:
    logged_in = status != 401
    state = "your token has no access to it yet" if logged_in else "you are not logged in"
    then = "once it is granted" if logged_in else "log in by `hf auth login` (or set HF_TOKEN)"
    other = f"; ungated instead: `photoscene models pull {entry.instead}`" if entry.instead else ""
    return (
        f"{entry.repo} is gated and {state}: visit {entry.page} and ask for access, {then}, "
        f"then `photoscene models pull {entry.name}` again{other}"
    )


def _status(hub: Hub, entry: ModelEntry, status: int) -> str:
    if status in (401, 403):
        return f"{hub.endpoint} refuses {entry.repo} ({status}): renew the token, `hf auth login`"
    return f"{hub.endpoint} answered {status} for {entry.repo}: try again later"


def _ask_anything(session: Any, hub: Hub) -> str:
    """Any answer will do; "" or why there was none. Whoever waits gives up before it does."""
    import httpx2

    try:
        session.head(hub.endpoint, timeout=2 * hub.patience_s, follow_redirects=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return _cause(error)
    return ""


def _cause(error: Exception) -> str:
    text = re.sub(r"^\[(Errno|SSL)[^\]]*\] *", "", str(error)).strip()
    return text or type(error).__name__


def _within(seconds: float, ask: Callable[[], str]) -> list[str] | None:
    """What a call returned, [] for "", None if it takes longer; it is then left to itself."""
    answer: Future[str] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        returned = answer.result(seconds)
    except TimeoutError:
        return None
    return [returned] if returned else []
