"""Text from elsewhere, made safe to show on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line without control, escape or direction codes and lone surrogates.

    White space of all kinds becomes a space, anything else that cannot be seen a question mark.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
