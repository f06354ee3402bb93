"""Are the weights on this machine whole? Every byte against what is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from photoscene.models.digests import content_of
from photoscene.models.progress import Progress
from photoscene.models.pull import pickles_among
from stages.model_record import (
    RECORD_NAME,
    ModelRecord,
    RecordedFile,
    matching,
    read_record,
)
from stages.model_table import ModelEntry, model_table
from stages.weights import cached_revision, hub_cache, models_folder, remember_digests

Layout = Literal["pulled", "hub cache"]
State = Literal["whole", "unknown", "missing", "truncated", "changed", "revision", "pickle"]
DAMAGE = ("missing", "truncated", "changed", "revision", "pickle")


@dataclass(frozen=True)
class Finding:
    """One file ("" for the folder), its state, what is known of it, and what mends it."""

    file: str
    state: State
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Verified:
    """One folder of one model and what was found there."""

    name: str
    folder: Path
    layout: Layout
    commit: str
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> list[Finding]:
        """What is wrong."""
        return [f for f in self.findings if f.state in DAMAGE]


def verify_model(entry: ModelEntry, progress: Progress) -> list[Verified]:
    """Check a model wherever it is on this machine; nothing where it is not."""
    found = []
    folder = models_folder() / entry.repo
    if _is_of(entry, folder):
        found.append(_verify_pulled(entry, folder, progress))
    for snapshot in _snapshots(entry):
        found.append(_verify_cached(entry, snapshot, progress))
    return found


def _is_of(entry: ModelEntry, folder: Path) -> bool:
    """Whether a folder has anything of a model: two models may share a repository."""
    record = read_record(folder)
    if record is not None and set(entry.files) <= set(record.patterns):
        return bool(_present(folder, entry))
    distinct = set(entry.files) - _files_of_others(entry)
    return any(any(folder.glob(pattern)) for pattern in distinct or entry.files)


def _files_of_others(entry: ModelEntry) -> set[str]:
    others = [m for m in model_table().values() if m.repo == entry.repo and m.name != entry.name]
    return {file for other in others for file in other.files}


def _verify_pulled(entry: ModelEntry, folder: Path, progress: Progress) -> Verified:
    record = read_record(folder)
    recorded = dict(_recorded(entry, record)) if record else {}
    present = _present(folder, entry)
    progress.expect(sum((folder / name).stat().st_size for name in present))
    findings = [_against_record(entry, folder, n, r, progress) for n, r in recorded.items()]
    rest = [name for name in present if name not in recorded]
    findings += [_against_table(entry, folder, name, progress) for name in rest]
    findings += _gaps(entry, folder, [f.file for f in findings])
    findings += _pickles(entry, folder)
    commit = record.commit if record else ""
    if commit and entry.revision and commit != entry.revision:
        findings.append(_wrong_revision(entry, commit))
    return Verified(entry.name, folder, "pulled", commit, tuple(findings))


def _recorded(entry: ModelEntry, record: ModelRecord) -> Iterator[tuple[str, RecordedFile]]:
    """The recorded files of a model, and what was made from them."""
    wanted = set(matching(record.files, entry.files))
    for name, file in record.files.items():
        if name in wanted or file.known_by == "made here":
            yield name, file


def _present(folder: Path, entry: ModelEntry) -> list[str]:
    """The files here that the row means, and those of the record that are more."""
    record = read_record(folder)
    names = {n for n, _ in _recorded(entry, record)} if record else set()
    found = {f for pattern in entry.files for f in folder.glob(pattern)}
    names |= {f.relative_to(folder).as_posix() for f in found}
    return sorted(name for name in names if (folder / name).is_file())


def _against_record(
    entry: ModelEntry, folder: Path, name: str, recorded: RecordedFile, progress: Progress
) -> Finding:
    file, again = folder / name, _pull_again(entry)
    if not file.is_file():
        return Finding(name, "missing", f"{recorded.bytes} bytes", again)
    size = file.stat().st_size
    if size != recorded.bytes:
        return Finding(name, "truncated", f"{size} bytes of {recorded.bytes}", again)
    content = content_of(file, progress, git=bool(recorded.git_id))
    known = recorded.sha256 or recorded.git_id
    whole = content.named(known) and entry.sha256.get(name, content.sha256) == content.sha256
    # A damaged file must not be believed by what was remembered of it.
    remember_digests(folder, {name: content.sha256 if whole else ""})
    if whole:
        return Finding(name, "whole", recorded.known_by)
    wanted = entry.sha256.get(name, known)
    return Finding(name, "changed", f"{content.sha256[:12]} instead of {wanted[:12]}", again)


def _against_table(entry: ModelEntry, folder: Path, name: str, progress: Progress) -> Finding:
    """A file without a record: the table may know its content, else nobody does."""
    content = content_of(folder / name, progress, git=False)
    wanted = entry.sha256.get(name)
    remember_digests(folder, {name: content.sha256 if wanted in (None, content.sha256) else ""})
    if wanted is None:
        detail = f"no {RECORD_NAME} says what it should be; sha256 {content.sha256}"
        return Finding(name, "unknown", detail, _pull_again(entry))
    if wanted == content.sha256:
        return Finding(name, "whole", "weights/models.yaml")
    short = f"{content.sha256[:12]} instead of {wanted[:12]}"
    return Finding(name, "changed", short, _pull_again(entry))


def _gaps(entry: ModelEntry, folder: Path, checked: list[str]) -> list[Finding]:
    """Patterns that nothing answers, and parts that an index of weights names and that lack."""
    gaps = [p for p in entry.files if not matching(checked, [p])]
    for name in checked:
        if name.endswith(".safetensors.index.json") and (folder / name).is_file():
            above = name.rpartition("/")[0]
            parts = [f"{above}/{part}" if above else part for part in _parts(folder / name)]
            missing = [p for p in parts if p not in checked and not (folder / p).is_file()]
            gaps += matching(missing, entry.files)
    return [Finding(gap, "missing", "", _pull_again(entry)) for gap in gaps]


def _parts(index: Path) -> list[str]:
    """The files that an index names; none for one that is damaged, which is found otherwise."""
    try:
        return sorted({str(v) for v in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _pickles(entry: ModelEntry, folder: Path) -> list[Finding]:
    named = {*entry.files, *_files_of_others(entry)}
    files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    detail = "a pickle that no model needs, and reading one can run code"
    return [
        Finding(name, "pickle", detail, f"delete {folder / name}")
        for name in pickles_among(files, named)
    ]


def _wrong_revision(entry: ModelEntry, commit: str) -> Finding:
    detail = f"commit {commit[:12]}, and the table pins {entry.revision[:12]}"
    return Finding("", "revision", detail, _pull_again(entry))


def _pull_again(entry: ModelEntry) -> str:
    return f"photoscene models pull {entry.name}"


def _snapshots(entry: ModelEntry) -> list[Path]:
    """The snapshot of the hub's cache that is used; if it is not there, what is there instead."""
    folder = hub_cache(entry)
    snapshots = sorted(p for p in (folder / "snapshots").glob("*") if p.is_dir())
    having = [s for s in snapshots if any(any(s.glob(p)) for p in entry.files)]
    return [s for s in having if s.name == cached_revision(entry)] or having


def _verify_cached(entry: ModelEntry, snapshot: Path, progress: Progress) -> Verified:
    """A snapshot has links to files that are named by their content."""
    found = sorted({f for pattern in entry.files for f in snapshot.glob(pattern)})
    sizes = [f.stat().st_size for f in found if f.exists()]
    progress.expect(sum(sizes))
    findings = [_against_name(entry, snapshot, file, progress) for file in found]
    findings += _gaps(entry, snapshot, [f.file for f in findings])
    findings += _pickles(entry, snapshot)
    if entry.revision and snapshot.name != entry.revision:
        findings.append(_wrong_revision(entry, snapshot.name))
    return Verified(entry.name, snapshot, "hub cache", snapshot.name, tuple(findings))


def _against_name(entry: ModelEntry, snapshot: Path, file: Path, progress: Progress) -> Finding:
    name = file.relative_to(snapshot).as_posix()
    blob = file.resolve()
    if not blob.is_file():
        return Finding(name, "missing", f"{blob} is gone", _pull_again(entry))
    named = len(blob.name) in (40, 64) and blob.parent.name == "blobs"
    if not named:
        finding = _against_table(entry, snapshot, name, progress)
        detail = finding.detail.replace(f"no {RECORD_NAME}", "no name of a blob")
        return replace(finding, detail=detail)
    content = content_of(blob, progress)
    wanted = entry.sha256.get(name, content.sha256)
    if content.named(blob.name) and wanted == content.sha256:
        return Finding(name, "whole", "the blob's name")
    mend = f"delete {blob}, then {_pull_again(entry)}"
    return Finding(name, "changed", f"{content.sha256[:12]} instead of {blob.name[:12]}", mend)
