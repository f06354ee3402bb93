"""One loaded model of a pool: how it is used, and how much memory it holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

from stages.backends import HeldWeights, ModelT

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(eq=False)
class ModelEntry(Generic[ModelT]):
    """A loaded backend. shared: by calls with other settings; held: what it reads when it is first
    wanted; known_bytes: what it holds with its weights, None before they were read; lent: how often
    it is now; exclusive, ran_out: how it was last used."""

    model: ModelT
    shared: bool
    held: HeldWeights | None
    known_bytes: int | None
    lent: int = 0
    exclusive: bool = False
    ran_out: bool = False

    def model_with(self, settings: DataclassInstance) -> ModelT:
        """The model with a call's own settings, its networks and locks shared with all others."""
        model: Any = self.model  # a dataclass where it is shared, see `Backend.loading`
        return replace(model, settings=settings) if self.shared else model

    @property
    def held_bytes(self) -> int:
        return (self.known_bytes or 0) if self.held is None else self.held.held_bytes

    def expected_bytes(self, unknown: int) -> int:
        """What it holds or, while it is lent, will have read."""
        if not self.lent:
            return self.held_bytes
        if self.known_bytes is None:
            return self.held_bytes or unknown
        return max(self.held_bytes, self.known_bytes)
