"""Errors of the environments and their messages."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import lm_gym
from tests.test_envs import DATA, NER, playable, vector


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"unit": "tokens"}, ValueError, "did you mean 'token'"),
        ({"actions": "logits"}, ValueError, "there are distribution, token"),
        ({"fill": "sequential"}, TypeError, "unexpected keyword argument 'fill'"),
        ({"sampling": "bucket"}, ValueError, "did you mean 'bucketed'"),
        ({"reward": "F1"}, ValueError, "unknown reward"),
        ({"split": "dev"}, ValueError, "there are test, train, validation"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1"),
        ({"maxlength": 9}, TypeError, "did you mean 'max_length'"),
        ({"autoreset_mode": "nextstep"}, ValueError, "did you mean 'NextStep'"),
        ({"render_mode": "human"}, TypeError, "unknown render_mode"),
        ({"num_envs": 0}, ValueError, "num_envs must be at least 1"),
        ({"max_episode_steps": 0}, ValueError, "max_episode_steps must be at least 1"),
        ({"mask_actions": True, "unit": "sequence"}, ValueError, "use unit='token'"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        lm_gym.NERVectorEnv(**{"num_envs": 2, "dataset": DATA[NER]} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill": "seq"}, "unknown fill"),
        ({"fill": "sequential", "unit": "sequence"}, "all at once"),
        ({"mask_probability": 0.0}, r"mask_probability must be in \(0, 1\]"),
        ({"reward": "f1"}, "reward 'f1' needs gold of kind iob2.* use 'accuracy'"),
    ],
)
def test_bad_arguments_of_masked_lm(options, message):
    with pytest.raises(ValueError, match=message):
        lm_gym.MaskedLMVectorEnv(**{"num_envs": 2, "dataset": DATA[NER]} | options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"indices": [1]}, ValueError, "must name 4 texts"),
        ({"indices": [0, 1, 2, 60]}, ValueError, r"\[3\] is 60: the split has the texts 0 … 59"),
        ({"indices": [0, 1, -1, 2]}, ValueError, r"\[2\] is -1"),
        ({"indices": [0.5, 1, 2, 3]}, TypeError, "float64"),
        ({"draws": -1}, ValueError, "0 or more"),
        ({"draws": 1.5}, TypeError, "number of texts"),
        ({"reset_mask": [True] * 4}, TypeError, "numpy array of bool"),
        ({"reset_mask": np.zeros(4, np.bool_)}, ValueError, "False everywhere"),
        ({"reset_mask": np.ones(3, np.bool_)}, ValueError, "shape"),
        ({"index": 3}, ValueError, "did you mean 'indices'"),
    ],
)
def test_bad_reset_options(options, error, message):
    made = vector()
    made.reset(seed=0)
    with pytest.raises(error, match=message):
        made.reset(options=options)


def test_the_first_reset_begins_every_row():
    with pytest.raises(ResetNeeded, match="every row"):
        vector().reset(options={"reset_mask": np.array([True, False, True, True])})


@pytest.mark.parametrize(
    ("options", "actions", "error", "message"),
    [
        ({}, [0, 1, 9, 0], ValueError, "action 9 of row 2 .* outside 0 … 8"),
        ({}, [0, -1, 0, 0], ValueError, "action -1 of row 1"),
        ({}, [0.0, 1.0, 2.0, 3.0], TypeError, "give integers in 0 … 8"),
        ({}, [0, 1], ValueError, r"shape \(2,\)"),
        ({}, 0, ValueError, r"shape \(\)"),
        ({}, [[0, 1, 2, 3]], ValueError, r"shape \(1, 4\): it must be \(4,\)"),
        ({"actions": "distribution"}, np.full((4, 9), np.nan), ValueError, "row 0 .* contain nan"),
        ({"actions": "distribution"}, np.full((4, 9), -np.inf), ValueError, "contain -inf"),
        ({"actions": "distribution"}, np.zeros((4, 8)), ValueError, "shape"),
        ({"actions": "distribution"}, [["a"] * 9] * 4, TypeError, "log-probabilities"),
    ],
)
def test_bad_actions(options, actions, error, message):
    made = vector(**options)
    made.reset(seed=0)
    before = pickle.dumps(made.episodes.observation)
    with pytest.raises(error, match=message):
        made.step(np.array(actions))
    assert pickle.dumps(made.episodes.observation) == before


def test_an_action_of_a_single_environment_is_one_number():
    made = lm_gym.NEREnv(dataset=DATA[NER])
    made.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        made.step(np.array([0]))


@pytest.mark.parametrize("given", [{"num_envs": 2}, {"autoreset_mode": "SameStep"}])
def test_arguments_of_vectors_are_refused_by_single_environments(given):
    with pytest.raises(TypeError, match=f"^{next(iter(given))}=.* is an argument of gymnasium.make_vec"):
        gymnasium.make("lm_gym/NER-v0", dataset=DATA[NER], **given)


def test_bad_actions_of_whole_texts():
    made = vector(unit="sequence")
    made.reset(seed=0)
    actions = playable(made.targets, 9)
    actions[2, 0] = 17
    with pytest.raises(ValueError, match=r"action 17 of row 2 \(index \[2, 0\]\)"):
        made.step(actions)
    with pytest.raises(ValueError, match=r"action 17 of row 2 \(index \[1, 2, 0\]\)"):
        made.position_rewards(np.stack([playable(made.targets, 9), actions]))
    with pytest.raises(ValueError, match="shape"):
        made.step(actions[:, :2])
    with pytest.raises(ValueError, match="shape"):
        made.step(actions[None])
    made.step(made.targets)  # n where padded, as targets are, is ignored


def test_playing_before_a_reset():
    for made in (vector(), vector(unit="sequence"), lm_gym.NEREnv(dataset=DATA[NER])):
        with pytest.raises(ResetNeeded, match="reset"):
            made.step(made.action_space.sample())
        with pytest.raises(ResetNeeded, match="reset"):
            made.position_rewards(np.zeros(made.targets.shape, np.int64))
    alone = lm_gym.NEREnv(dataset=DATA[NER], unit="sequence")
    alone.reset(seed=0)
    alone.step(alone.action_space.sample())
    with pytest.raises(ResetNeeded, match="ended"):
        alone.step(alone.action_space.sample())


def test_ner_on_plain_text_is_refused():
    plain = lm_gym.Dataset.from_sentences("plain", [["just", "words"]])
    with pytest.raises(ValueError, match="needs a tag for each word"):
        gymnasium.make(NER, dataset=plain)
