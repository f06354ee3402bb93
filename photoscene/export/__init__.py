"""Exports: a run's scene, or each of its objects, as files that other programs read."""
