"""Fitting the networks."""
