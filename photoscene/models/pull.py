"""Brings a model's files here: exactly those of its row, at its pinned commit, each once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from photoscene.models.convert import convert_once
from photoscene.models.digests import content_of
from photoscene.models.fetch import (
    AlreadyPulling,
    NotThePublishedFile,
    Source,
    bytes_there,
    fetch_file,
    inside,
)
from photoscene.models.hub import (
    Hub,
    HubRefused,
    HubUnreachable,
    Listing,
    RemoteFile,
    check_reachable,
    list_files,
)
from photoscene.models.progress import Progress
from scene.errors import BadInput, BadWeights, CannotRun
from stages.model_record import ModelRecord, RecordedFile, matching, read_record, write_record
from stages.model_table import ModelEntry, known_model
from stages.weights import (
    hub_cache,
    missing_files,
    models_folder,
    remember_digests,
    remembered_digest,
    weights_places,
)

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
SPARE_BYTES = 1 << 28  # besides the files themselves


class CannotPull(CannotRun):
    """A model does not come here; the message says which, why, and what to do.

    unreachable: why the hub could not be asked, "" where it could.
    """

    def __init__(self, message: str, unreachable: str = "") -> None:
        super().__init__(message)
        self.unreachable = unreachable


@dataclass(frozen=True)
class Pulled:
    """A model that is here: its folder and commit, the files that were fetched and their bytes, the
    number of those that were there before, and what else a person should know."""

    name: str
    folder: Path
    commit: str
    fetched: tuple[str, ...] = ()
    bytes_fetched: int = 0
    kept: int = 0
    note: str = ""


def with_companions(names: Sequence[str]) -> list[str]:
    """The names of models and of all that they do not run without; BadInput for unknown ones."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        entry = known_model(waiting.pop(0))
        if entry.name not in found:
            found[entry.name] = None
            waiting += entry.also
    return list(found)


def pull_model(entry: ModelEntry, root: Path | None, hub: Hub, progress: Progress) -> Pulled:
    """Make a model whole in a folder of models (None: the default one) and say what it took.

    Only what is missing or damaged is fetched. Raises CannotPull.
    """
    folder = (root or models_folder()) / entry.repo
    try:
        here = already_whole(entry, folder, progress)
        if here is None and root is None:
            here = _in_the_hubs_cache(entry)
        if here is None:
            here = _pull(entry, folder, hub, progress)
        note = convert_once(entry, folder, progress)
        return replace(here, note="; ".join(filter(None, (here.note, note))))
    except HubUnreachable as error:
        record = read_record(folder)
        if record is None and folder.is_dir() and not missing_files(entry, folder):
            return Pulled(entry.name, folder, "", note=f"put there by hand, not checked: {error}")
        message = f"{entry.name}: {error}; {_by_hand(entry, folder, record)}"
        raise CannotPull(message, str(error)) from None
    except (HubRefused, NotThePublishedFile, AlreadyPulling, BadInput, BadWeights) as error:
        raise CannotPull(f"{entry.name}: {error}") from None
    except OSError as error:
        where = error.filename or folder
        raise CannotPull(
            f"{entry.name}: {where}: {error.strerror or error}: free some space there, or choose "
            "another folder by --to or PHOTOSCENE_MODELS"
        ) from None


def already_whole(entry: ModelEntry, folder: Path, progress: Progress) -> Pulled | None:
    """The model if its record is fulfilled; files that changed since they were checked are read."""
    record = read_record(folder)
    if record is None or not _answers(record, entry):
        return None
    names = matching(record.files, entry.files)
    if not all(_intact(folder, name, record.files[name], progress) for name in names):
        return None
    return Pulled(entry.name, folder, record.commit, kept=len(names))


def pickles_among(names: Iterable[str], named: Collection[str]) -> list[str]:
    """The pickles among files that are not named letter by letter."""
    return [n for n in names if n.lower().endswith(PICKLES) and n not in named]


def _answers(record: ModelRecord, entry: ModelEntry) -> bool:
    """Whether a record is of this row: all its patterns, at its commit."""
    pinned = entry.revision or record.commit
    asked = set(entry.files) <= set(record.patterns)
    return record.repo == entry.repo and asked and record.commit == pinned


def _intact(folder: Path, name: str, expected: RecordedFile, progress: Progress) -> bool:
    """Whether a file has its size and content; what is remembered of it saves reading it."""
    file = folder / name
    if not expected.sha256 or not file.is_file() or file.stat().st_size != expected.bytes:
        return False
    known = remembered_digest(folder, name)
    if not known:
        progress.expect(expected.bytes)
        known = content_of(file, progress, git=False).sha256
        remember_digests(folder, {name: known})
    return known == expected.sha256


def _in_the_hubs_cache(entry: ModelEntry) -> Pulled | None:
    for place in weights_places(entry)[1:]:
        if place.is_dir() and not missing_files(entry, place):
            note = f"in the hub's cache; `photoscene models verify {entry.name}` checks it"
            return Pulled(entry.name, place, place.name, note=note)
    return None


def _by_hand(entry: ModelEntry, folder: Path, record: ModelRecord | None) -> str:
    """What is missing, and where it belongs, for somebody without a network."""
    files = record.files if record else {}
    recorded = matching(files, entry.files)
    damaged = [n for n in recorded if not _intact(folder, n, files[n], Progress())]
    gaps = missing_files(entry, folder)
    gaps += [name for name in damaged if name not in gaps]
    named = ", ".join(gaps[:4]) + (f" and {len(gaps) - 4} more" if len(gaps) > 4 else "")
    at = f" at commit {entry.revision}" if entry.revision else ""
    lacks = f"missing or damaged: {named}" if gaps else "of another commit"
    return (
        f"{lacks} ({entry.gigabytes:g} GB). Pull it on a machine with a network and copy the "
        f"folder {entry.repo} to {folder}, or put there those files of {entry.page}{at}"
    )


def _pull(entry: ModelEntry, folder: Path, hub: Hub, progress: Progress) -> Pulled:
    check_reachable(hub)
    before = read_record(folder)
    revision = entry.revision or (before.commit if before else "") or "main"
    listing = list_files(hub, entry, revision)
    files = _remote_files(entry, listing)
    record = _begun(entry, listing.commit, files, before)
    write_record(folder, record)
    lacking = [f for f in files if not _holds(folder, f, progress)]
    _check_space(folder, lacking)
    progress.expect(2 * sum(f.bytes for f in lacking))  # they come, and are read once
    fetched, fetched_bytes = [], 0
    for file in lacking:
        if not _from_the_hubs_cache(entry, folder, file, progress):
            there = bytes_there(inside(folder, file.name), file)
            digest = fetch_file(Source(hub, entry, listing.commit), file, folder, progress)
            remember_digests(folder, {file.name: digest})
            fetched.append(file.name)
            fetched_bytes += file.bytes - there
    write_record(folder, _finished(record, folder, files))
    note = "" if entry.revision else f"commit {listing.commit} is recorded and kept from now on"
    kept = len(files) - len(lacking)
    return Pulled(entry.name, folder, listing.commit, tuple(fetched), fetched_bytes, kept, note)


def _remote_files(entry: ModelEntry, listing: Listing) -> list[RemoteFile]:
    """The files that the row means; HubRefused for gaps, pickles, and contents we know better."""
    names = matching([f.name for f in listing.files], entry.files)
    for pattern in entry.files:
        if not matching(names, [pattern]):
            raise HubRefused(f"{entry.repo} has no {pattern} at commit {listing.commit}")
    pickles = pickles_among(names, entry.files)
    if pickles:
        raise HubRefused(
            f"{entry.repo} has {pickles[0]}, a pickle, which can run code when it is read: refused"
        )
    files = [f for f in listing.files if f.name in set(names)]
    for file in files:
        inside(Path(), file.name)
        known = entry.sha256.get(file.name, file.sha256)
        if file.sha256 and file.sha256 != known:
            raise HubRefused(
                f"{file.name} has sha256 {file.sha256[:12]} there, photoscene knows it as "
                f"{known[:12]}: do not trust that hub"
            )
    return files


def _begun(
    entry: ModelEntry, commit: str, files: Sequence[RemoteFile], before: ModelRecord | None
) -> ModelRecord:
    """The record of these files, and of others of the same commit that were pulled before."""
    same = before if before and before.commit == commit else None
    others = same.files if same else {}
    patterns = sorted({*(same.patterns if same else ()), *entry.files})
    stated = {
        f.name: RecordedFile(f.bytes, f.sha256, "" if f.sha256 else f.git_id,
                             "hub sha256" if f.sha256 else "hub git id")
        for f in files
    }  # fmt: skip
    return ModelRecord(entry.repo, commit, tuple(patterns), {**others, **stated})


def _finished(record: ModelRecord, folder: Path, files: Sequence[RemoteFile]) -> ModelRecord:
    """The record with the sha256 of all files."""
    known = {f.name: f.sha256 or remembered_digest(folder, f.name) for f in files}
    filled = {n: replace(record.files[n], sha256=digest) for n, digest in known.items()}
    return replace(record, files={**record.files, **filled})


def _holds(folder: Path, file: RemoteFile, progress: Progress) -> bool:
    """Whether the folder has a file with the content that the hub states."""
    path = folder / file.name
    if not path.is_file() or path.is_symlink() or path.stat().st_size != file.bytes:
        return False
    if file.sha256 and (known := remembered_digest(folder, file.name)):
        return known == file.sha256
    progress.expect(file.bytes)
    content = content_of(path, progress, git=not file.sha256)
    remember_digests(folder, {file.name: content.sha256})
    return content.named(file.content_name)


def _from_the_hubs_cache(
    entry: ModelEntry, folder: Path, file: RemoteFile, progress: Progress
) -> bool:
    """Take a file's bytes from the hub's cache if they are there and whole: a second name for them
    where that is possible, else a copy."""
    blob = hub_cache(entry) / "blobs" / file.content_name
    if not blob.is_file():
        return False
    content = content_of(blob, progress, git=not file.sha256)
    if not content.named(file.content_name):
        progress.expect(file.bytes)
        return False
    progress.expect(-file.bytes)
    target = inside(folder, file.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    coming = target.with_name(f"{target.name}.{file.content_name[:12]}.incomplete")
    coming.unlink(missing_ok=True)
    try:
        os.link(blob, coming)
    except OSError:  # another disk, or one without such names
        shutil.copyfile(blob, coming)
    os.replace(coming, target)
    remember_digests(folder, {file.name: content.sha256})
    return True


def _check_space(folder: Path, lacking: Sequence[RemoteFile]) -> None:
    """CannotPull if the disk has no room for what is still to come."""
    needed = sum(f.bytes - bytes_there(inside(folder, f.name), f) for f in lacking)
    free = shutil.disk_usage(folder).free
    if needed and needed + SPARE_BYTES > free:
        raise CannotPull(
            f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are to come: free "
            "some space, or choose another folder by --to or PHOTOSCENE_MODELS"
        )
