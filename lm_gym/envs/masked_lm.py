"""Masked language modelling as an environment."""

from lm_gym.envs.env import TextEnv
from lm_gym.envs.vector import TextVectorEnv


class MaskedLMVectorEnv(TextVectorEnv):
    """Restore the masked tokens of N texts at once."""

    task_name = "masked_lm"


class MaskedLMEnv(TextEnv):
    """Restore the masked tokens of a text."""

    vector_class = MaskedLMVectorEnv
