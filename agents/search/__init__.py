"""Gradient-free search: optimizers, populations, and search spaces."""
