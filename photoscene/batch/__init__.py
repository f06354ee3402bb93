"""Many photos: a scene and a run folder for each, by worker processes that may die at any time."""
