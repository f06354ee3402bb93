"""Places objects: visible points, the robust scale solver, depth order. Arrays in and out."""
