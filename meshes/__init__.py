"""Large triangle meshes: loops compiled by numba, and marching cubes; imports nothing of ours."""
