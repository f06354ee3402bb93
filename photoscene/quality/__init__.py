"""A technical artist's rubric of a run: what can be measured of it, as pass, check or fail."""
