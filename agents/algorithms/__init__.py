"""Algorithms that learn from text environments, under Stable-Baselines3's interface."""
