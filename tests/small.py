"""Small agents for the tests: few builtin texts, environments, a model of one layer, a callback that stops training."""

import gymnasium
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.data import Dataset, load_dataset

SMALL = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 160}


def small(env):
    """Return the arguments of an LMPolicy for a vector environment."""
    return {"model": {**SMALL, "vocab_size": int(env.single_observation_space["input_ids"].high.max()) + 1}}


def few_names(texts):
    """Return the given numbers of training and test texts of the builtin named entities."""
    full = load_dataset("builtin/ner")
    part = {name: [(full[name].text(i), full[name].tags_of(i)) for i in range(texts)] for name in ("train", "test")}
    return Dataset.from_sentences("part", part["train"], part["test"])


def make_env(dataset, task="NER", num_envs=8, **kwargs):
    """Make a vector environment of whole texts, which pays for accuracy."""
    kwargs = {"unit": "sequence", "reward": "accuracy", "autoreset_mode": "SameStep", "max_length": 128, **kwargs}
    return gymnasium.make_vec(f"lm_gym/{task}-v0", num_envs=num_envs, dataset=dataset, **kwargs)


def token_env(dataset, task="NER", texts=4, group_size=4, **kwargs):
    """Make a vector environment of single tokens, with groups of rows that play the same text."""
    return make_env(dataset, task, texts * group_size, unit="token", group_size=group_size, **kwargs)


def search_env(dataset, task="NER", num_envs=8, **kwargs):
    """Make a vector environment of whole texts, which pays the log-likelihood of distributions."""
    return make_env(dataset, task, num_envs, **{"actions": "distribution", "reward": "log_likelihood", **kwargs})


def build(algorithm, env, **kwargs):
    """Make an agent of any algorithm with a small model."""
    return algorithm("LMPolicy", env, **{"seed": 3, "device": "cpu", "policy_kwargs": small(env), **kwargs})


def build_learner(algorithm, env, **kwargs):
    """Make an agent that learns by gradients."""
    return build(algorithm, env, **{"learning_rate": 3e-3, **kwargs})


def weights(model):
    """Return all parameters of an agent's policy as one vector."""
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


def first_texts(model):
    """Return the observation of an agent's first texts and their environments, without playing them."""
    model.env.seed(model.seed)
    model.env.set_options({"draws": 0})
    obs, _ = model.policy.obs_to_tensor(model.env.reset())
    return obs, TextEnvironments(model.env)


class Stop(BaseCallback):
    """Stop training at the n-th call."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def _on_step(self):
        self.left -= 1
        return self.left > 0
