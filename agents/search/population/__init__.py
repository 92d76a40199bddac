"""Populations of policies, and one forward pass for all of their members."""
