"""How does a loan of a model end before its call does, so that the next call has the device?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

# What ends this thread's loan, if it has one on a device other than the CPU.
current_loan: ContextVar[ExitStack | None] = ContextVar("loan", default=None)
_finishing = threading.Lock()


@contextmanager
def after_the_loan() -> Iterator[None]:
    """For what a lent model has left to do on the CPU alone: its loan ends, and the next call has
    the device meanwhile. It borrows nothing more, and has its results in main memory.

    One call at a time is here; another one keeps the device until then, so that no more than two
    results wait in main memory. On a CPU, which is busy all the same, nothing ends early.
    """
    loan = current_loan.get()
    if loan is None:
        yield
        return
    with _finishing:
        loan.close()
        yield
