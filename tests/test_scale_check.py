"""A message says in which direction to change the step size of a search if it is far too small or too large."""

import math
import warnings

import pytest
import torch as th
from stable_baselines3.common.callbacks import CallbackList

from lm_gym.agents.algorithms.presets import ES, GA, SNES
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.runs.scale_check import GENERATIONS, CheckScale, advice, divergence
from tests.small import Stop, build, search_env

NER_TEXTS = 32
USUAL = {"moves": [0.01] * 10, "generations": 300.0, "spread": 0.01, "fitness": -2.0, "loss": 0.1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"loss": math.nan}, None),
        ({"spread": 1e-6}, "no more than rounding in float32: raise the optimizer's sigma .or the space's scale.;"),
        ({"spread": 1.9e-3, "precision": "bfloat16"}, "rounding in bfloat16: raise.*or set precision to float32"),
        ({"spread": 2.1e-3, "precision": "bfloat16"}, None),
        ({"spread": 0.0, "moves": [0.0]}, "use log_likelihood"),
        ({"loss": 3.0}, "earn 3.0 nats per position less.*lower the optimizer's sigma"),
        ({"moves": [0.2, 1.8]}, "by 1.0 nats per position in a generation .more than 0.5.: lower.*learning_rate"),
        ({"moves": [1e-9]}, "in the 300 generations of its budget: raise.*learning_rate"),
        ({"moves": [1e-7], "generations": 3000.0}, None),
    ],
)
def test_advice(given, said):
    found = advice(**{**USUAL, **given})
    assert len(found) == (said is not None)
    if said is not None:
        with pytest.warns(UserWarning, match=said):
            warnings.warn(found[0], stacklevel=1)


def test_divergence_by_hand():
    before = th.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    after = th.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]).log()
    assert divergence(before, after) == pytest.approx((0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2)


@pytest.mark.parametrize(
    ("algorithm", "options", "said"),
    [
        (ES, {"learning_rate": 20.0}, "lower the optimizer's learning_rate"),
        (ES, {"learning_rate": 1e-7}, "raise the optimizer's learning_rate"),
        (SNES, {"sigma": 30.0}, "lower the optimizer's sigma"),
        (GA, {"spread": 1e-9, "mutation_step": 1e-9}, "no more than rounding in float32: raise"),
        (ES, {}, None),
    ],
)
def test_a_search_is_told(algorithm, options, said, ner):
    kwargs = {"optimizer_kwargs": {"popsize": 16, **options}}
    model, plain = build(algorithm, search_env(ner), **kwargs), build(algorithm, search_env(ner), **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(10**6, callback=CallbackList([CheckScale(), Stop(GENERATIONS + 2)]))
    messages = [str(warning.message) for warning in caught if "search" in str(warning.message)]
    assert any(said in message for message in messages) if said else messages == []
    plain.learn(10**6, callback=Stop(GENERATIONS + 2))
    assert all(th.equal(a, b) for a, b in zip(model.policy.parameters(), plain.policy.parameters(), strict=True))
    assert model.forward_passes == plain.forward_passes


def test_a_search_in_bfloat16_is_told_of_its_rounding(ner):
    small = {"popsize": 16, "spread": 1e-5, "mutation_step": 1e-5}  # which float32 tells apart
    for precision, count in (("float32", 0), ("bfloat16", 1)):
        model = build(GA, search_env(ner), precision=precision, optimizer_kwargs=small)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.learn(10**6, callback=CallbackList([CheckScale(), Stop(GENERATIONS + 2)]))
        assert sum("set precision to float32" in str(warning.message) for warning in caught) == count


def test_other_algorithms_are_left_alone(ner):
    callback = CheckScale()
    build(REINFORCE, search_env(ner, actions="token", reward="accuracy")).learn(10**6, callback=[callback, Stop(12)])
    assert callback._moves == []
