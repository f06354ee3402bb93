"""Trains the network of the complete backend `lite`."""
