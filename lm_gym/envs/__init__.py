"""Environments: texts with positions to decide, as Gymnasium's single and vector environments."""

from lm_gym.envs.env import TextEnv
from lm_gym.envs.masked_lm import MaskedLMEnv, MaskedLMVectorEnv
from lm_gym.envs.ner import NEREnv, NERVectorEnv
from lm_gym.envs.vector import TextVectorEnv

__all__ = ["MaskedLMEnv", "MaskedLMVectorEnv", "NEREnv", "NERVectorEnv", "TextEnv", "TextVectorEnv"]
