"""Populations of policies, and one forward for all of their members."""
