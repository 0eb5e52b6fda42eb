"""Numerical kernels on bare tensors: sampling, smoothing, vector fields."""
