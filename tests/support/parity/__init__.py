"""Checks of pixal3d against golden tensors of the public reference code, one file per topic."""
