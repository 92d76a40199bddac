"""Learned orders with Discrete actions."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

from lm_gym.compat.discrete import PositionThenToken
from tests.cases import tokenizer

ID = "lm_gym/Unmasking-v0"
ROWS = [{"tokens": list("1234"), "clues": [1]}, {"tokens": list("4321"), "clues": []}]
N = 17  # tokens, and the choice to wait


def make(**options):
    source = {"dataset": {"train": ROWS}, "tokenizer": tokenizer(ID), "unit": "sequence", "order": "learned"}
    return PositionThenToken(gymnasium.make(ID, **{"max_steps": 6, "step_cost": 0.25, **source, **options}))


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.parametrize("options", [{}, {"remask": True}])
def test_gymnasium_and_stable_baselines3_accept_it(options):
    check_env(make(**options), skip_render_check=True)
    check_env_of_sb3(make(**options))


def test_two_actions_are_one_step():
    env = make(reward="accuracy")
    env.reset(options={"indices": [1]})
    gold = env.unwrapped.targets[0]
    assert env.action_masks().tolist() == [True] * 4 + [False] * 14
    observation, reward, *_ = env.step(2)
    assert (reward, observation["choosing"].tolist(), observation["cursor"].tolist()) == (0.0, [0], [2])
    assert env.action_masks()[N]
    assert not env.action_masks()[:5].any()  # special tokens
    observation, reward, *_ = env.step(int(gold[2]))
    assert (reward, observation["choosing"].tolist()) == (0.75, [1])
    assert observation["predictions"].tolist() == [N, N, gold[2], N]
    assert env.step(2)[1] == -0.25  # filled already, so the step is wasted
    for slot in (0, 1, 3):
        env.step(slot)
        *_, ended, _, _ = env.step(int(gold[slot]))
    assert ended
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_a_token_may_be_left_open_and_a_position_opened_again():
    env = make(reward="accuracy", remask=True, remask_cost=0.5)
    env.reset(options={"indices": [1]})
    gold = env.unwrapped.targets[0]
    env.step(0)
    assert env.step(N)[0]["predictions"].tolist() == [N] * 4
    for slot in (0, 1):
        env.step(slot)
        env.step(int(gold[slot]))
    observation, reward, *_ = env.step(0)
    assert reward == -1.0 - 0.5 - 0.25
    assert observation["predictions"].tolist() == [N, gold[1], N, N]
    assert observation["choosing"].tolist() == [1]
    observation, *_ = env.step(9)  # not a position, so the step is wasted and opens nothing
    assert observation["predictions"].tolist() == [N, gold[1], N, N]


def test_a_library_with_its_own_network_learns_from_it():
    agent = stable_baselines3.PPO("MultiInputPolicy", make(), n_steps=16, batch_size=16, n_epochs=1, seed=0)
    agent.learn(32)
    assert np.isfinite(agent.logger.name_to_value.get("train/loss", 0.0))


def test_it_says_what_it_needs():
    with pytest.raises(ValueError, match="order='learned'"):
        PositionThenToken(gymnasium.make(ID))
    env = make()
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    with pytest.raises(ValueError, match="outside 0 … 17"):
        env.step(18)
