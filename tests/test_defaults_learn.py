"""The pairings that are hardest for default settings improve on their start, in seconds."""

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
HARDEST = {  # algorithm and environment → updates, and the part of its perplexity that must go
    ("pso", "MaskedLM"): (12, 0.02),
    ("random_search", "MaskedLM"): (12, 0.01),
    ("ppo", "MaskedLM"): (400, 0.1),
    ("reinforce", "MaskedLM"): (12, 0.3),
}


def airfield() -> Dataset:
    """Sentences of an airfield, which `tiny` has not read about."""
    texts = [" ".join(parts) + " ." for parts in product(CREWS, DOINGS, CRAFT, PLACES)]
    return load_dataset({"train": [text.split() for i, text in enumerate(texts) if i % 4],
                         "validation": [text.split() for text in texts[::4]]})  # fmt: skip


@pytest.mark.parametrize(("algo", "task"), HARDEST)
def test_the_hardest_pairings_improve(algo: str, task: str) -> None:
    kind: Any = ALGORITHMS[algo]
    data, calls, part = airfield(), *HARDEST[algo, task]
    make = {"id": f"lm_gym/{task}-v0", "dataset": data, "autoreset_mode": "SameStep", "max_length": 32}
    paid = {} if kind.default_reward is None else {"reward": kind.default_reward}
    rows = 16 * kind.env_arguments.get("group_size", 1)
    env = gymnasium.make_vec(**make, **paid, **kind.env_arguments, num_envs=rows)
    validation = gymnasium.make_vec(**make, unit="sequence", split="validation", num_envs=36)
    agent = kind("LMPolicy", env, seed=0, device="cpu")
    before = evaluate(agent.policy, validation).metrics["perplexity"]
    agent.learn(10**9, callback=Stop(calls), log_interval=None)
    after = evaluate(agent.policy, validation).metrics["perplexity"]
    assert after < (1 - part) * before
