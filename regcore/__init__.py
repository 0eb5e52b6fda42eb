"""Attention-based registration of medical images."""
