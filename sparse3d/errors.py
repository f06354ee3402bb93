"""Errors that are no fault of the code; WeightsError is beside the loading of weights.

Every other exception, a plain ValueError included, is a bug here or a call with wrong arguments.
"""

from __future__ import annotations


class BadImage(ValueError):
    """A picture or a file of posed views that cannot be used."""


class BadConfiguration(ValueError):
    """A configuration that describes no network of those that are known here."""


class NothingMade(ValueError):
    """The networks made no object of the picture."""


class CannotRun(RuntimeError):
    """This machine cannot run a network in the way that was asked for."""
