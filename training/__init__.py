"""Makes the bundled networks' weights: what all share, and a folder for each network."""
