"""Checks of the generators against golden tensors of the public reference code, by topic."""
