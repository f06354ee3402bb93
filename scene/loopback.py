"""Where servers of our own listen: on this machine, for this machine alone."""

from __future__ import annotations

import os
import socket

from scene.errors import CannotRun

ADDRESS = "127.0.0.1"
TRY_S = 5


def listen() -> socket.socket:
    """A socket that listens on a free port of this machine; CannotRun where nobody reaches it."""
    try:
        listening = socket.create_server((ADDRESS, 0))
        # An interface that is down lets one listen, and nobody connect.
        with socket.create_connection(listening.getsockname(), TRY_S):
            listening.accept()[0].close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "no answer"
        raise CannotRun(
            f"this machine does not reach itself at {ADDRESS} ({why}): "
            "bring its loopback interface up with that address, as by `ip link set lo up`"
        ) from None
    return listening
