"""A progress line per stage and object, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flows.calls import WHOLE_SCENE
from scene.text import printable

SHOWN = ("flows", "scene", "stages")  # packages whose log a person sees


class _Lines(logging.Handler):
    """Prints the log records of steps as lines; other records as they are."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.names: dict[str, str] = {}
        self.said: set[str] = set()
        self.computed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        extra = vars(record)
        if "names" in extra:
            known, self.names = self.names, extra["names"]
            if self.names and self.names != known:  # not again by the flow
                print(f"{'objects':<11} {', '.join(self.names.values())}", file=sys.stderr)
        elif "call" in extra:
            call = extra["call"]
            if not extra["computed"] and call.key in self.computed:
                return  # computed before the flow, which then finds it in the store
            if extra["computed"]:
                self.computed.add(call.key)
            whole = call.subject == WHOLE_SCENE
            subject = "" if whole else self.names.get(call.subject, call.subject)
            cost = f"{extra['seconds']:6.2f} s" if extra["computed"] else "  stored"
            print(f"{call.stage:<11} {subject:<24} {cost}", file=sys.stderr, flush=True)
        elif record.getMessage() not in self.said:  # a store is asked before and during the flow
            self.said.add(record.getMessage())
            print(printable(record.getMessage()), file=sys.stderr, flush=True)


@contextmanager
def show_progress() -> Iterator[None]:
    """Print the steps' progress while inside."""
    handler = _Lines()
    loggers = [logging.getLogger(name) for name in SHOWN]
    before = [(each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
        each.propagate = False  # Prefect's root handler would print every line again
    try:
        yield
    finally:
        for each, (level, propagate) in zip(loggers, before, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate
