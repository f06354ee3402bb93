"""What several generate backends share: lattices over a crop, outlines, closed sheets, settings."""
