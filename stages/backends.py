"""What is known of a stage and of a backend: a typed record each; finds a backend by its name.

A stage's folder has its record `STAGE` in `__init__.py`; every backend's file there ends with its
record `BACKEND`. docs/backends.md shows how to add one.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from scene.errors import BadInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FULL_EXTRA = "pip install -e '.[full]'"
NONE = "none"  # the backend of an optional stage that is left out; no file

Keeping = Literal["keep", "one_at_a_time"]
Offload = Literal["none", "model", "sequential"]

SettingsT = TypeVar("SettingsT", bound="DataclassInstance")
ModelT = TypeVar("ModelT")


class HeldWeights(Protocol):
    """What a loaded model reads when it is first wanted: a `LazyModel`, a `NetworkPool`."""

    @property
    def held_bytes(self) -> int:
        """What it holds on the device now."""
        ...

    def release(self) -> None:
        """Let go of it; it is read again when it is wanted."""
        ...


def _no_models(settings: object) -> tuple[str, ...]:
    return ()


def _no_limits(settings: object) -> tuple[str, ...]:
    return ()


def _no_folder(settings: object) -> str:
    return ""


def _keep(settings: object) -> Keeping:
    return "keep"


def _no_offload(settings: object) -> Offload:
    return "none"


@dataclass(frozen=True, kw_only=True)
class Backend(Generic[SettingsT, ModelT]):
    """Everything that is asked of a backend. Stages have subclasses with what is asked there only.

    Only version, settings and load are needed; the others are for weights and large libraries.
    """

    version: str
    """Of what it makes, a part of every key: raised whenever the output changes."""

    settings: type[SettingsT]
    """A frozen dataclass whose defaults work; its `__post_init__` raises BadInput, with a message
    that begins with the setting's name. `NoSettings` where there is nothing to set."""

    load: Callable[[SettingsT, str], ModelT]
    """Settings and device ("cpu", "cuda", "cuda:1") -> the model, which fits the stage's Protocol.
    Heavy imports are inside, so that looking keys up stays quick."""

    loading: tuple[str, ...] | None = None
    """The settings that `load` depends on, () for none; it is given these alone, all others have
    their defaults. Calls that differ in others share one loaded model: each is lent a copy of it,
    made by `dataclasses.replace`, whose field `settings` has the call's own. None: `load` depends
    on all settings, and the model is shared by equal ones only."""

    held: Callable[[ModelT], HeldWeights] | None = None
    """Where a model keeps what it reads when it is first wanted, so that the pool can measure it
    and let go of it. None: the model has everything from `load` on, and goes as a whole."""

    lockstep: bool = False
    """Its model borrows its networks one by one from a `NetworkPool`. Calls that are to have one at
    a time may then be members of a `Lockstep`: its threads work in turn, and the model holds no
    lock while it borrows."""

    memory: Callable[[SettingsT], Keeping] = _keep
    """ "one_at_a_time": never in memory together with others that say so."""

    offload: Callable[[SettingsT], Offload] = _no_offload
    """What of the weights waits in main memory between calls."""

    weights_sha256: str | Callable[[SettingsT], str] = ""
    """The digest of the weights, a part of the key: of bundled ones, or of those that the settings
    name. Raises BadInput where these are wrong, MissingWeights where the weights are not here."""

    bundled: tuple[str, ...] = ()
    """The files of weights/lite that are read."""

    models: Callable[[SettingsT], tuple[str, ...]] = _no_models
    """The rows of weights/models.yaml that are read, unless `weights_folder` names a folder."""

    weights_folder: Callable[[SettingsT], str] = _no_folder
    """The user's own folder of weights, "" for none."""

    libraries: Mapping[str, str] = field(default_factory=dict)
    """Modules that are imported late, besides photoscene's own -> the command that installs each,
    as `dict.fromkeys(("torch", "transformers"), FULL_EXTRA)`."""

    limits: Callable[[SettingsT], tuple[str, ...]] = _no_limits
    """What it does not do with these settings and the weights that are here, for `doctor`: a
    sentence each, without a capital letter or a full stop."""

    def loading_values(self, settings: SettingsT) -> dict[str, Any]:
        """The settings that `load` depends on, with their values."""
        values = asdict(settings)
        return values if self.loading is None else {name: values[name] for name in self.loading}

    def weights_digest(self, settings: SettingsT) -> str:
        """The digest of the weights that are used with these settings; "" without any."""
        known = self.weights_sha256
        return known if isinstance(known, str) else known(settings)

    def leaves_device(self, settings: SettingsT) -> bool:
        """Whether no weights stay on the device between calls."""
        return self.memory(settings) == "one_at_a_time" or self.offload(settings) != "none"

    def models_read(self, settings: SettingsT) -> tuple[str, ...]:
        """The models of the table that are read with these settings; () with an own folder."""
        return () if self.weights_folder(settings) else self.models(settings)


BackendT = TypeVar("BackendT", bound=Backend[Any, Any], covariant=True)


@dataclass(frozen=True)
class Stage(Generic[BackendT]):
    """Everything that is asked of a stage. Its backends are the files and folders beside its own.

    name: of the folder, and of its step; backend: the class of its backends' records; version: of
    its `run`, of what all backends share, and of how the results are written; per_object: whether
    it has a call for each object; optional: whether a profile may leave it out.
    """

    name: str
    backend: type[BackendT]
    version: str
    per_object: bool = False
    optional: bool = False


AnyStage = Stage[Backend[Any, Any]]


def backend_names(stage: AnyStage) -> list[str]:
    """The backends of a stage: the modules of its folder that have a record."""
    package = importlib.import_module(f"stages.{stage.name}")
    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    return sorted(n for n in names if _record(stage, n) is not None)


def find_backend(stage: Stage[BackendT], name: str) -> BackendT:
    """The record of a stage's backend; BadInput with the known ones for a name that is none's."""
    if name.isidentifier() and importlib.util.find_spec(f"stages.{stage.name}.{name}"):
        found = _record(stage, name)
        if found is not None:
            return found
    known = ", ".join(backend_names(stage))
    raise BadInput(f"unknown backend {name!r} for {stage.name}: expected one of {known}")


def _record(stage: Stage[BackendT], name: str) -> BackendT | None:
    """The record of a module of a stage's folder; None without one, as `shared` is."""
    module = importlib.import_module(f"stages.{stage.name}.{name}")
    found = getattr(module, "BACKEND", None)
    if found is not None and not isinstance(found, stage.backend):
        raise TypeError(f"{module.__name__}.BACKEND is no {stage.backend.__name__}")
    return found
