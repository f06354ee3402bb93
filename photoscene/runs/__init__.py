"""A run and its folder: records, reconstruction, writing, inspection, comparison and edits."""
