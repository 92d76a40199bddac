"""Filled positions are masked again, at a price."""

import numpy as np
import pytest
import torch as th

from lm_gym.agents import evaluate
from tests.puzzles import begun, make, small_policy


def remasking(**options):
    return make(2, unit="sequence", order="learned", max_steps=4, remask=True, remask_cost=0.25, **options)


def test_a_filled_position_is_opened_again_at_a_price():
    env = remasking(reward="accuracy")
    begun(env)
    gold, n, mask = env.targets, 17, env.task.tokenizer.mask
    first = np.array([[gold[0, 0], n, n, n], [gold[1, 0], gold[1, 1] % 5 + 5, n, n]])
    first[1, 1] = 5 if gold[1, 1] != 5 else 6  # a wrong token
    observation, rewards, *_ = env.step(first)
    assert rewards.tolist() == [1.0, 1.0]
    assert observation["due"].all()
    back = np.array([[n, n, n, n], [7, n, gold[1, 2], n]])  # 7 keeps the token, it does not replace it
    observation, rewards, _, _, info = env.step(back)
    assert rewards.tolist() == [-1.0 - 0.25, 0.0 + 1.0 - 0.25]  # the reward of a right token is taken back
    assert info["decided"].tolist() == [0, 1]
    assert observation["predictions"].tolist() == [[n, n, n, n], [gold[1, 0], n, gold[1, 2], n]]
    assert (observation["input_ids"][0, 1:5] == mask).all()
    assert observation["input_ids"][1, 1:5].tolist() == [gold[1, 0], mask, gold[1, 2], mask]
    _, rewards, ended, *_ = env.step(gold)
    assert rewards.tolist() == [4.0, 2.0]
    assert ended.all()


def test_the_last_step_opens_nothing():
    env = remasking()
    begun(env)
    some = env.targets.copy()
    some[:, 0] = 17
    for _ in range(3):
        observation = env.step(some)[0]
    assert observation["due"].tolist() == [[1, 0, 0, 0]] * 2


@pytest.mark.parametrize("reward", ["log_likelihood", "exact_match", lambda p, t, m: np.where(m, p == t, 0.0)])
def test_rewards_of_a_text_do_not_depend_on_what_was_taken_back(reward):
    totals = []
    for detours in (False, True):
        env = remasking(reward=reward, step_cost=0.0)
        begun(env)
        gold, total = env.targets, np.zeros(2)
        if detours:
            wrong = np.full((2, 4), 17)
            wrong[:, 0] = 5
            total += env.step(wrong)[1]
            total += env.step(np.full((2, 4), 17))[1] + 0.25
        total += env.step(gold)[1]
        totals.append(total.tolist())
    assert totals[0] == pytest.approx(totals[1])


def test_a_policy_takes_tokens_back():
    env = remasking()
    policy = small_policy(env)
    policy.set_training_mode(False)
    observation = begun(env)
    filled = env.targets.copy()
    filled[:, 2:] = 17
    observation = env.step(filled)[0]
    with th.no_grad():
        obs, _ = policy.obs_to_tensor(observation)
        packed = policy.positions(obs)
        at = packed.unpack(packed.log_probs.exp())
        assert at[..., 17][:, :2] == pytest.approx(np.full((2, 2), 1 / (1 + np.exp(4.0))), abs=1e-5)
        assert (at[:, 0].gather(1, th.as_tensor(filled[:, :1])) + at[:, 0, 17:]).flatten().tolist() == pytest.approx(
            [1, 1]
        )
        assert policy.predict(observation, deterministic=True)[0][:, :2].tolist() == filled[:, :2].tolist()
        policy.wait_head.reopen.bias.fill_(4.0)
        assert (policy.predict(observation, deterministic=True)[0][:, :2] == 17).all()
    policy.evaluate_actions(obs, th.as_tensor(policy.predict(observation)[0]))[1].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
    assert policy.wait_head.reopen.bias.grad.item() != 0.0
    assert evaluate(policy, remasking()).steps.max() <= 4
