"""Trains the bundled lite generator: procedural shapes, rendered meshes, network, loss, export."""
