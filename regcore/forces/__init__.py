"""Closed-form forces: the direction in which each voxel should move, without automatic differentiation."""
