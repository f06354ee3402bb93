"""Bundled weights, each with a card that says where it comes from."""
