"""Choosing masks by hand: at a prompt or in a local page, one entry at a time."""
