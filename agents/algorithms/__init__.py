"""Algorithms that learn from text environments, with the interface of Stable-Baselines3."""
