"""Cupid: one picture of an object to its shape in a canonical frame, and the camera that saw it."""
