"""Are the weights in a file exactly what a network needs? Strict loading from safetensors.

A `.pth`, as NAF's release is one, is read by torch's reader of plain tensors, which runs no code.
"""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sparse3d.errors import BadConfiguration

SHOWN_NAMES = 3
STORED_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class WeightsError(OSError):
    """Weights that are missing, damaged, or not of the network they are for: one line."""


def weights_error(message: str) -> WeightsError:
    """The error with its message where the command line looks for it."""
    return WeightsError(errno.ENODATA, message)


Arguments = Mapping[str, Any]
# From an official class name, its arguments and the type of the network's body to the network.
Build = Callable[[str, Arguments, torch.dtype | None], nn.Module]


@dataclass(frozen=True)
class NetworkSpec:
    """An official class name and its constructor's arguments."""

    kind: str
    arguments: Arguments


@dataclass(frozen=True)
class NameRules:
    """The differences between the names in a file and those of its network that are allowed.

    ours: stored names (without the source's prefix) and the network's names to a function from the
    former to the latter; ignored: stored names that no network has.
    """

    ours: Callable[[Iterable[str], set[str]], Callable[[str], str]] = lambda stored, names: str
    ignored: frozenset[str] = frozenset()


SAME_NAMES = NameRules()


@dataclass(frozen=True)
class NetworkSource:
    """One network's class and sizes, the file that holds its weights, and their prefix there."""

    spec: NetworkSpec
    file: Path
    prefix: str = ""
    skipped_prefixes: tuple[str, ...] = ()


# Weights read in the middle of a generation are ordinary tensors, which may be moved and trained.
@torch.inference_mode(False)
def load_network(
    source: NetworkSource,
    build: Build,
    device: str = "cpu",
    body_dtype: torch.dtype | None = None,
    rules: NameRules = SAME_NAMES,
) -> nn.Module:
    """Build a network without memory and give it its weights, each in the type it runs in.

    Raises WeightsError for a damaged file, a name too many or too few, another shape, quantised
    weights, and values that are not finite.
    """
    try:
        with torch.device("meta"):
            network = build(source.spec.kind, source.spec.arguments, body_dtype)
    except BadConfiguration as error:
        raise weights_error(f"{source.file}: {error}") from None
    with _opened(source.file, device) as stored:
        names = _stored_names(source, stored.names, network.state_dict().keys(), rules)
        tensors = {
            name: _tensor(source, name, stored.read(names[name]), like)
            for name, like in network.state_dict().items()
        }
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def stored_types(
    source: NetworkSource, names: Iterable[str], rules: NameRules = SAME_NAMES
) -> dict[str, torch.dtype]:
    """The type in which each of a network's tensors is stored; WeightsError as `load_network`."""
    with _opened(source.file, "cpu") as stored:
        found = _stored_names(source, stored.names, names, rules)
        return {name: stored.dtype(theirs) for name, theirs in found.items()}


@dataclass(frozen=True)
class StoredTensors:
    """The names in a file, and functions from a name to its tensor and its type."""

    names: list[str]
    read: Callable[[str], Tensor]
    dtype: Callable[[str], torch.dtype]


@contextmanager
def _opened(file: Path, device: str) -> Iterator[StoredTensors]:
    """A file whose tensors are read on the device one by one; those of a `.pth` all at once."""
    try:
        if file.suffix == ".pth":
            tensors = _unpickled(file, device)
            yield StoredTensors(list(tensors), tensors.__getitem__, lambda n: tensors[n].dtype)
            return
        with safe_open(file, framework="pt", device=device) as opened:

            def dtype(name: str) -> torch.dtype:
                return STORED_TYPES.get(opened.get_slice(name).get_dtype(), torch.int8)

            yield StoredTensors(list(opened.keys()), opened.get_tensor, dtype)
    except FileNotFoundError:
        raise weights_error(f"the weight file {file} is missing") from None
    except SafetensorError as error:
        raise weights_error(
            f"{file} is damaged or no safetensors file ({error}): download it again"
        ) from None


def _unpickled(file: Path, device: str) -> dict[str, Tensor]:
    try:
        tensors = torch.load(file, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        raise weights_error(
            f"{file} is damaged, or holds more than tensors: download it again"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise weights_error(f"{file} holds more than named tensors: use the released file")
    return tensors


def _stored_names(
    source: NetworkSource, stored: Iterable[str], names: Iterable[str], rules: NameRules
) -> dict[str, str]:
    """Where each wanted tensor is in the file; WeightsError unless they match one to one."""
    mine = [n for n in stored if n.startswith(source.prefix)]
    mine = [n for n in mine if not n.startswith(source.skipped_prefixes or "\0")]
    names = set(names)
    ours = rules.ours(mine, names)
    found = {ours(n.removeprefix(source.prefix)): n for n in mine}
    extra = sorted(found.keys() - names - rules.ignored)
    missing = sorted(names - found.keys())
    if extra or missing:
        if any(n.endswith((".weight_scale", ".comfy_quant")) for n in extra):
            raise weights_error(f"{source.file} holds quantised weights: use the bf16 or fp32 file")
        raise weights_error(
            f"{source.file} does not fit {source.spec.kind}: "
            + "; ".join(filter(None, [_listed("missing", missing), _listed("unknown", extra)]))
        )
    return found


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{what} {', '.join(names[:SHOWN_NAMES])}{more}"


def _tensor(source: NetworkSource, name: str, stored: Tensor, like: Tensor) -> Tensor:
    """A stored tensor in the type it runs in; WeightsError for another shape or bad values."""
    if stored.shape != like.shape:
        raise weights_error(
            f"{source.file} does not fit {source.spec.kind}: {name} is {tuple(stored.shape)}, "
            f"expected {tuple(like.shape)}"
        )
    if not stored.dtype.is_floating_point:
        raise weights_error(
            f"{source.file}: {name} holds {stored.dtype}: use the bf16 or fp32 file"
        )
    tensor = stored.to(like.dtype)
    if not torch.isfinite(tensor).all():
        raise weights_error(f"{source.file}: {name} has values that are not finite")
    return tensor
