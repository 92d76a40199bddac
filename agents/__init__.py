"""Agents that train a language model on lm_gym's environments: one interface, Stable-Baselines3's."""
