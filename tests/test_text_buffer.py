"""The rollout buffer of whole texts: its contents, its minibatches, and its advantages."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import DictRolloutBuffer

from lm_gym.agents.algorithms.group_advantages import group_advantages
from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.small import make_env, small

STEPS = 20


def collect(policy, env, *buffers):
    """Collect a rollout into buffers like Stable-Baselines3, and return its observations [T, N, …]."""
    obs, starts, seen = env.reset(), np.ones(env.num_envs, bool), []
    for buffer in buffers:
        buffer.reset()
    for _ in range(STEPS):
        with th.no_grad():
            actions, values, log_probs = policy(policy.obs_to_tensor(obs)[0])
        following, rewards, dones, _ = env.step(actions.numpy())
        for buffer in buffers:
            buffer.add(obs, actions.numpy().reshape(-1, 1), rewards, starts, values, log_probs)
        seen.append(obs)
        obs, starts = following, dones
    with th.no_grad():
        last = policy.predict_values(policy.obs_to_tensor(obs)[0])
    for buffer in buffers:
        buffer.compute_returns_and_advantage(last, dones)
    return {name: np.stack([step[name] for step in seen]) for name in seen[0]}


@pytest.fixture(params=[("NER", {}), ("NER", {"mask_actions": True}), ("MaskedLM", {"fill": "sequential"})], ids=str)
def rollout(request, ner):
    task, options = request.param
    env = VecEnvAdapter(make_env(ner, task, 6, unit="token", **options))
    with th.random.fork_rng():
        th.manual_seed(0)
        policy = LMPolicy(env.observation_space, env.action_space, lambda _: 1e-3, **small(env.vector), dropout=0.0)
        policy.value_net.weight.data.normal_()
        policy.set_training_mode(False)
        made = [
            kind(STEPS, env.observation_space, env.action_space, "cpu", gae_lambda=0.9, gamma=0.8, n_envs=6)
            for kind in (TextRolloutBuffer, DictRolloutBuffer)
        ]
        env.seed(5)
        observed = collect(policy, env, *made)
    return policy, *made, observed


def test_gae_is_stable_baselines3s(rollout):
    _, buffer, plain, _ = rollout
    for name in ("advantages", "returns", "values", "log_probs", "rewards"):
        assert np.array_equal(getattr(buffer, name), getattr(plain, name)), name
    assert np.abs(buffer.advantages).max() > 0


def test_minibatches_are_whole_texts_and_every_step_comes_once(rollout):
    _, buffer, _, _ = rollout
    buffer.advantages[:] = np.arange(STEPS * 6).reshape(STEPS, 6)  # each step is identified by its number
    seen, counts = [], []
    for part in buffer.get(24):
        steps = part.advantages.numpy().astype(int)
        numbers = buffer.text.ravel()[steps]
        assert not np.isin(np.delete(buffer.text.ravel(), steps), numbers).any(), "a text is parted"
        assert len(part.observations["input_ids"]) == len(set(numbers))
        assert th.equal(th.unique(part.observations["text"]), th.arange(len(set(numbers))))
        counts.append(len(steps))
        seen += steps.tolist()
    assert sorted(seen) == list(range(STEPS * 6))
    assert len(counts) in (4, 5)
    (whole,) = buffer.get()
    assert len(whole.actions) == STEPS * 6


def test_minibatches_evaluate_as_their_observations_do(rollout):
    policy, buffer, _, observed = rollout
    buffer.advantages[:] = np.arange(STEPS * 6).reshape(STEPS, 6)
    flat = {name: th.as_tensor(leaf.reshape(STEPS * 6, *leaf.shape[2:])) for name, leaf in observed.items()}
    for part in buffer.get(30):
        steps = part.advantages.long()
        values, log_prob, entropy = policy.evaluate_actions(part.observations, part.actions.flatten())
        single = {name: leaf[steps] for name, leaf in flat.items()}
        packed = policy.positions(single, single["cursor"].flatten())
        chosen = packed.log_probs.gather(1, part.actions.long()).squeeze(1)
        assert th.allclose(log_prob, chosen, atol=1e-5)
        assert th.allclose(log_prob, part.old_log_prob, atol=1e-5)
        assert th.allclose(values.flatten(), policy.values(packed), atol=1e-5)
        assert th.allclose(values.flatten(), part.old_values, atol=1e-5)
        probs = packed.log_probs.exp()
        assert th.allclose(entropy, -th.special.xlogy(probs, probs).sum(-1), atol=1e-4)


def test_texts_are_stored_once(ner):
    env = VecEnvAdapter(make_env(ner, num_envs=6, unit="token", group_size=3))
    policy = LMPolicy(env.observation_space, env.action_space, lambda _: 1e-3, **small(env.vector))
    policy.set_training_mode(False)
    kwargs = {"n_envs": 6, "gamma": 0.0, "advantage": "maximum_likelihood", "group_size": 3}
    buffer = TextRolloutBuffer(STEPS, env.observation_space, env.action_space, "cpu", **kwargs)
    env.seed(0)
    collect(policy, env, buffer)
    (whole,) = buffer.get()
    assert len(whole.observations["input_ids"]) == env.vector.draws
    assert set(whole.observations) == {"input_ids", "attention_mask", "positions", "text", "cursor"}
    groups = whole.observations["text"].reshape(STEPS, 2, 3)
    assert (groups == groups[..., :1]).all()


def test_advantages_by_hand():
    G = np.array([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]], np.float32)  # two groups of four
    found = group_advantages(G, 4, "maximum_likelihood")
    np.testing.assert_allclose(found, [[3, -1, -1, -1, -1, -1, 1, 1]])
    found = group_advantages(G, 4, "leave_one_out")
    np.testing.assert_allclose(found, [[1, -1 / 3, -1 / 3, -1 / 3, -2 / 3, -2 / 3, 2 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(group_advantages(0 * G, 4, "maximum_likelihood"), -np.ones((1, 8)))


def test_advantages_of_likelihoods_and_of_different_choices_by_hand():
    R = np.array([[0.6, 0.2, 0.1, 0.1]], np.float32)
    found = group_advantages(np.log(R) - 50, 4, "maximum_likelihood", log_scale=True)  # a factor cancels
    np.testing.assert_allclose(found, R / 0.25 - 1, rtol=1e-5)
    pi = np.array([[0.5, 0.25, 0.15, 0.1]], np.float32)  # four of four choices: ω = π
    found = group_advantages(R, 4, "maximum_likelihood", distinct=np.log(pi))
    np.testing.assert_allclose(found, 4 * (pi * R / (pi * R).sum() - pi), atol=1e-4)
    found = group_advantages(R, 4, "group_normalized")
    np.testing.assert_allclose(found, (R - 0.25) / R.std(), rtol=1e-4)


def test_rows_of_a_group_draw_different_choices(ner):
    env = VecEnvAdapter(make_env(ner, "MaskedLM", 12, unit="token", group_size=6))
    policy = LMPolicy(env.observation_space, env.action_space, lambda _: 1e-3, **small(env.vector))
    policy.set_training_mode(False)
    with th.no_grad():
        for policy.distinct in (0, 6):
            with th.random.fork_rng():
                th.manual_seed(0)
                obs = policy.obs_to_tensor(env.reset())[0]
                for place in policy.language_model.network.parameters():
                    place.mul_(3.0)  # few choices are probable
                actions, _, log_probs = policy(obs)
                counts = [len(set(rows)) for rows in actions.view(2, 6).tolist()]
                assert th.allclose(log_probs, policy.evaluate_actions(obs, actions)[1], atol=1e-5)
        assert counts == [6, 6]


def test_different_choices_go_with_positions_by_themselves(ner):
    with pytest.raises(ValueError, match="leave distinct at False"):
        buffer_of(ner, 1.0, advantage="maximum_likelihood", distinct=True)


def buffer_of(ner, gamma, **kwargs):
    env = make_env(ner, num_envs=2, unit="token", group_size=2)
    spaces = (env.single_observation_space, env.single_action_space)
    obs = env.reset(seed=0)[0]
    return TextRolloutBuffer(4, *spaces, "cpu", gamma=gamma, n_envs=2, group_size=2, **kwargs), obs


@pytest.mark.parametrize(
    ("gamma", "dones", "returns"),
    [
        (0.0, [False, False], [[1, 2], [3, 4], [5, 6], [7, 8]]),
        (1.0, [False, False], [[4, 6], [3, 4], [112, 214], [107, 208]]),  # an episode of two steps; one that is cut
        (0.5, [True, True], [[2.5, 4.0], [3, 4], [8.5, 10], [7, 8]]),
    ],
)
def test_returns_stop_at_episode_ends_and_go_on_with_the_critic_beyond_the_rollout(ner, gamma, dones, returns):
    buffer, obs = buffer_of(ner, gamma, advantage="leave_one_out")
    for step in range(4):
        rewards = np.array([2.0 * step + 1, 2.0 * step + 2])
        starts = np.full(2, step in (0, 2))
        buffer.add(obs, np.zeros((2, 1)), rewards, starts, th.zeros(2, 1), th.zeros(2))
    buffer.compute_returns_and_advantage(th.tensor([[100.0], [200.0]]), np.array(dones))
    np.testing.assert_allclose(buffer.returns, returns)


def test_a_critic_that_says_the_same_of_both_rows_cancels(ner):
    advantages = []
    for value in (0.0, 50.0):
        buffer, obs = buffer_of(ner, 1.0, advantage="leave_one_out")
        for step in range(4):
            buffer.add(obs, np.zeros((2, 1)), np.array([step, 1.0]), np.full(2, step == 0), th.zeros(2, 1), th.zeros(2))
        buffer.compute_returns_and_advantage(th.full((2, 1), value), np.zeros(2))
        advantages.append(buffer.advantages)
    np.testing.assert_allclose(*advantages, atol=1e-5)


def test_rows_of_a_group_must_play_the_same_text(ner):
    env = make_env(ner, num_envs=2, unit="token")
    spaces = (env.single_observation_space, env.single_action_space)
    buffer = TextRolloutBuffer(4, *spaces, "cpu", n_envs=2, advantage="leave_one_out", group_size=2)
    obs = env.reset(seed=0)[0]
    with pytest.raises(ValueError, match="rows of a group differ in input_ids"):
        buffer.add(obs, np.zeros((2, 1)), np.zeros(2), np.ones(2), th.zeros(2, 1), th.zeros(2))


def test_what_does_not_fit_is_refused(ner):
    env = make_env(ner, num_envs=2, unit="token")
    spaces = (env.single_observation_space, env.single_action_space)
    with pytest.raises(ValueError, match="'best' is not one of gae"):
        TextRolloutBuffer(4, *spaces, advantage="best")
    with pytest.raises(ValueError, match="group_size=3 must be 2 or more and divide the 4 rows"):
        TextRolloutBuffer(4, *spaces, n_envs=4, advantage="leave_one_out", group_size=3)
    whole = make_env(ner, num_envs=2)
    with pytest.raises(ValueError, match="unit='token'"):
        TextRolloutBuffer(4, whole.single_observation_space, whole.single_action_space)
