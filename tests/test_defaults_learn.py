"""The pairings that are hardest for default settings improve on their start within seconds."""

from itertools import product
from typing import Any

import gymnasium
import pytest

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.data import Dataset, load_dataset
from tests.small import Stop

CREWS, DOINGS = ("the pilot", "her engineer", "a tired mechanic"), ("refuelled", "inspected", "towed", "grounded")
CRAFT = ("the seaplane", "an old glider", "two helicopters", "that airship")
PLACES = ("beside the hangar", "under the control tower", "on the wet runway")
HARDEST = {"pso": (20, 0.02), "mezo": (20, 0.02), "low_rank_es": (20, 0.01), "reinforce": (12, 0.2)}  # updates, gain


def airfield() -> Dataset:
    """Return sentences about an airfield, a topic that `tiny` was not trained on."""
    texts = [" ".join(parts) + " ." for parts in product(CREWS, DOINGS, CRAFT, PLACES)]
    return load_dataset({"train": [text.split() for i, text in enumerate(texts) if i % 4],
                         "validation": [text.split() for text in texts[::4]]})  # fmt: skip


@pytest.mark.filterwarnings("ignore:PSO over")
@pytest.mark.parametrize("algo", HARDEST)
def test_masked_words_of_a_new_domain_get_likelier(algo: str) -> None:
    kind: Any = ALGORITHMS[algo]
    calls, part = HARDEST[algo]
    make = {"id": "lm_gym/MaskedLM-v0", "dataset": airfield(), "autoreset_mode": "SameStep", "max_length": 32}
    env = gymnasium.make_vec(**make, **kind.env_arguments, num_envs=32)
    validation = gymnasium.make_vec(**make, unit="sequence", split="validation", num_envs=36)
    agent = kind("LMPolicy", env, seed=0, device="cpu")
    before = evaluate(agent.policy, validation).metrics["perplexity"]
    agent.learn(10**9, callback=Stop(calls), log_interval=None)
    after = evaluate(agent.policy, validation).metrics["perplexity"]
    assert after < (1 - part) * before
