"""Small agents for the tests: a model of one layer, a few builtin texts, a callback that stops training."""

from stable_baselines3.common.callbacks import BaseCallback

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


class Stop(BaseCallback):
    """Stop training at the n-th call."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def _on_step(self):
        self.left -= 1
        return self.left > 0
