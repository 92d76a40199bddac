"""Seeded rollouts equal those of version 0.1 exactly."""

import hashlib
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import pytest

import lm_gym

PEOPLE = ("Ada Byron", "Noor", "Ivo Lang", "Mira")
PLACES = ("Oslo", "New Turin", "Lima")
GOLDEN = {  # first 16 digits of a SHA-256, from version 0.1
    "words, one by one": "f700bef70d48db45",
    "words at once, balanced": "5653080f96d7f050",
    "words, sum at the end, bucketed": "e6fce320b1610a22",
    "masks, one by one": "5302b91a9f243225",
    "masks filled in": "e25c042dfaa60606",
    "masks at once, in groups": "e17643c79dd8ee84",
}
ROLLOUTS: dict[str, dict[str, Any]] = {
    "words, one by one": {"id": "lm_gym/NER-v0", "reward": "f1", "mask_actions": True},
    "words at once, balanced": {"id": "lm_gym/NER-v0", "unit": "sequence", "reward": {"accuracy": 1.0, "f1": 0.5}},
    "words, sum at the end, bucketed": {
        "id": "lm_gym/NER-v0",
        "reward": "f1",
        "dense": False,
        "sampling": "bucketed",
    },
    "masks, one by one": {"id": "lm_gym/MaskedLM-v0", "reward": "accuracy", "mask_probability": 0.3},
    "masks filled in": {"id": "lm_gym/MaskedLM-v0", "reward": "accuracy", "fill": "sequential"},
    "masks at once, in groups": {
        "id": "lm_gym/MaskedLM-v0",
        "unit": "sequence",
        "reward": "accuracy",
        "group_size": 2,
    },
}


def dataset() -> lm_gym.Dataset:
    """Return 48 tagged texts about people who go to places."""
    texts = []
    for (person, place), verb in product(product(PEOPLE, PLACES), ("went to", "left", "never saw", "writes of")):
        words = [*person.split(), *verb.split(), *place.split(), "."]
        tags = [f"{'BI'[k > 0]}-PER" for k in range(len(person.split()))] + ["O"] * len(verb.split())
        tags += [f"{'BI'[k > 0]}-LOC" for k in range(len(place.split()))] + ["O"]
        texts.append((words, tags))
    return lm_gym.Dataset.from_sentences("journeys", texts)


def digest(arguments: dict[str, Any]) -> str:
    """Return a digest of the observations, rewards and ends of 40 random steps of 8 rows."""
    env = gymnasium.make_vec(**arguments, num_envs=8, dataset=dataset(), autoreset_mode="SameStep")
    rng, seen = np.random.default_rng(7), hashlib.sha256()
    observation, _ = env.reset(seed=3)
    choices = env.task.shape.choices
    for _ in range(40):
        actions = rng.integers(0, choices, env.action_space.shape)
        gold = env.targets if arguments.get("unit") == "sequence" else env.targets[:, 0]
        actions = np.where((rng.random(actions.shape) < 0.5) & (gold < choices), gold, actions)
        before = observation
        observation, rewards, terminated, truncated, _ = env.step(actions)
        for name in sorted(before):
            seen.update(np.ascontiguousarray(before[name]).tobytes())
        for values in (np.round(rewards, 6) + 0.0, terminated, truncated):
            seen.update(np.ascontiguousarray(values).tobytes())
    return seen.hexdigest()[:16]


@pytest.mark.parametrize("name", ROLLOUTS)
def test_rollouts_are_those_of_version_0_1(name: str) -> None:
    assert digest(ROLLOUTS[name]) == GOLDEN[name]
