"""Direct3D-S2: one image of an object to a mesh, by a sparse signed distance field."""
