"""Places objects: visible points, the robust scale solver, depth order. numpy and scipy on arrays."""
