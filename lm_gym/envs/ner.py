"""Named-entity recognition as an environment."""

from lm_gym.envs.env import TextEnv
from lm_gym.envs.vector import TextVectorEnv


class NERVectorEnv(TextVectorEnv):
    """Tag the words of N texts at once."""

    task_name = "ner"


class NEREnv(TextEnv):
    """Tag the words of a text."""

    vector_class = NERVectorEnv
