"""Prefect's settings: the server that is configured, and none of the user's for a private one."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scene.errors import CannotRun
from scene.telemetry import SWITCHES

logger = logging.getLogger(__name__)

PLACES = (
    "PREFECT_* variables, profiles.toml in PREFECT_HOME, and .env, prefect.toml and pyproject.toml "
    "where you work"
)
HEADERS = "client.custom_headers"
PATHS = {
    "profiles_path": "profiles.toml",
    "results.local_storage_path": "storage",
    "server.memo_store_path": "memo_store.toml",
}


OURS = {**SWITCHES, "PREFECT_LOGGING_LEVEL": "CRITICAL"}  # what photoscene itself sets
API_URL = "PREFECT_API_URL"
DEFAULT_HOME = "~/.prefect"  # Prefect's own


class ServerFailed(CannotRun):
    """The Prefect server does not start, does not answer, or not as one."""


def settings_at_a_glance() -> tuple[str | None, Path] | None:
    """As `read_settings`, but without Prefect's import, which takes a second or two; None where
    anything but the API's URL is set at any of `PLACES`."""
    theirs = {name.upper(): value for name, value in os.environ.items() - OURS.items()}
    theirs = {name: value for name, value in theirs.items() if name.startswith("PREFECT_")}
    home = Path(os.path.expanduser(DEFAULT_HOME))
    if not home.is_absolute() or theirs.keys() - {API_URL}:
        return None
    try:
        more = (
            (home / "profiles.toml").exists()
            or Path("prefect.toml").exists()
            or "prefect_" in _text(".env").lower()
            or "prefect" in tomllib.loads(_text("pyproject.toml")).get("tool", {})
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        return None
    return None if more else (theirs.get(API_URL) or None, home)


def _text(name: str) -> str:
    """The text of a file where one works, "" for none; OSError for what is no file."""
    file = Path(name)
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise OSError(f"{file} is no regular file")
    return file.read_text("utf-8") if file.exists() else ""


def read_settings() -> tuple[str | None, Path]:
    """The configured API's URL, None for none, and Prefect's home.

    Raises ServerFailed where Prefect cannot read what the user has set.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # Prefect complains there as well, in its own words
            from prefect.settings import PREFECT_API_URL, PREFECT_HOME

            found = PREFECT_API_URL.value(), PREFECT_HOME.value()
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        raise ServerFailed(
            f"Prefect cannot read its settings ({_reason(error)}): mend them ({PLACES})"
        ) from None
    for line in said.getvalue().splitlines():
        logger.info(line)
    return found


def _reason(error: Exception) -> str:
    """One line; pydantic's has three for each setting that is wrong."""
    lines = [line.strip() for line in str(error).splitlines()]
    if type(error).__name__ == "ValidationError" and len(lines) > 2:
        return f"{lines[1]}: {lines[2].partition(' [type=')[0]}"
    return f"{type(error).__name__}: {' '.join(lines)}"


@contextlib.contextmanager
def configured_settings(url: str) -> Iterator[None]:
    """The user's settings for a flow that is called here.

    It has no heartbeat: it ends with its caller, and Prefect's heartbeat thread would add up to a
    second to every flow. Flows that a deployment's worker runs keep theirs.
    """
    from prefect.settings import temporary_settings

    with temporary_settings({"api.url": url, "flows.heartbeat_frequency": None}):
        yield


@contextlib.contextmanager
def private_settings(url: str, home: Path) -> Iterator[None]:
    """Prefect's defaults for a server that only this process knows, and `home` as its home.

    What users set is for their own servers: keys, headers, certificates, places for results. How
    Prefect logs stays theirs.
    """
    from prefect.settings import get_current_settings, temporary_settings

    theirs = get_current_settings().model_dump(exclude_unset=True)
    unset: list[Any] = [name for name in _names(theirs) if not name.startswith("logging.")]
    own: dict[Any, Any] = {
        **{name: home / file for name, file in PATHS.items()},
        "client.retry_extra_codes": set(),
        HEADERS: {},
        "home": home,
        "api.url": url,
        "flows.heartbeat_frequency": None,
        "logging.to_api.enabled": False,  # nobody reads them there
    }
    with temporary_settings(own, restore_defaults=[n for n in unset if n not in own]) as settings:
        settings.client.custom_headers = {}  # Prefect has added them to those that were there
        yield


def _names(settings: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Prefect's names of settings, as "api.url", of a nested mapping."""
    for name, value in settings.items():
        if isinstance(value, dict) and f"{within}{name}" != HEADERS:
            yield from _names(value, f"{within}{name}.")
        else:
            yield f"{within}{name}"
