"""What generators of sparse voxels have in common: the parts of `pixal3d` that are of no one model.

Usable with `meshes` alone; needs torch, safetensors and NumPy (`surface` also Pillow and xatlas).
"""
