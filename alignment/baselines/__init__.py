"""Placement methods to compare with, behind the same stage: M2, M7, ICP, render and compare."""
