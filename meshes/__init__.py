"""Loops over large triangle meshes, compiled by numba; imports nothing of ours."""
