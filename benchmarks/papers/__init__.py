"""What do the other generators cost: CUPID and Direct3D-S2 beside Pixal3D?"""
