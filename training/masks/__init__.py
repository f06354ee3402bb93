"""Trains the network that finds masks in the detector's boxes."""
