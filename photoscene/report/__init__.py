"""The inspection page of a run: one HTML file that opens anywhere."""
