"""Algorithms of Stable-Baselines3 and sb3-contrib learn with the policy and the buffer of whole texts."""

import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch as th

from lm_gym.agents.algorithms.maskable import MaskableLMPolicy, MaskableTextRolloutBuffer
from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.small import small, token_env, weights

G = 4
ROLLOUT = 16 * 4 * G  # steps of a rollout of the agents here


def classes(env, advantage, masked=False):
    buffer = MaskableTextRolloutBuffer if masked else TextRolloutBuffer
    kwargs = {"advantage": advantage, "group_size": G}
    return {
        "policy": MaskableLMPolicy if masked else LMPolicy,
        "env": VecEnvAdapter(env),
        "rollout_buffer_class": buffer,
        "rollout_buffer_kwargs": kwargs,
        "policy_kwargs": small(env),
        "n_steps": 16,
        "gamma": 0.0,
        "seed": 0,
        "device": "cpu",
        "learning_rate": 3e-3,
    }


PLAIN = [
    (stable_baselines3.PPO, {"batch_size": 128, "n_epochs": 2}, {}),
    (stable_baselines3.A2C, {"use_rms_prop": False}, {}),
    (sb3_contrib.TRPO, {"batch_size": 128, "n_critic_updates": 1}, {}),
    (sb3_contrib.MaskablePPO, {"batch_size": 128, "n_epochs": 2}, {}),
    (stable_baselines3.PPO, {"batch_size": 128, "n_epochs": 2}, {"mask_actions": True}),
]


@pytest.mark.parametrize(("algorithm", "kwargs", "env"), PLAIN, ids=str)
@pytest.mark.parametrize("task", ["NER", "MaskedLM"])
def test_plain_algorithms_learn_with_policy_and_buffer(algorithm, kwargs, env, task, ner, tmp_path):
    env = {"reward": "log_likelihood", **env}  # fresh weights almost never choose a right token
    made = token_env(ner, task, **env)
    masked = algorithm is sb3_contrib.MaskablePPO
    with th.random.fork_rng():
        model = algorithm(**classes(made, "leave_one_out", masked), **kwargs)
        before = weights(model)
        model.learn(2 * ROLLOUT)
        assert not th.equal(weights(model), before)
        assert all(np.isfinite(value) for value in model.logger.name_to_value.values() if isinstance(value, float))
        texts = model.policy.encoder.spent.texts
        model.save(tmp_path / "model")
        again = algorithm.load(tmp_path / "model", env=VecEnvAdapter(made), device="cpu")
    obs = made.reset(seed=1)[0]
    assert np.array_equal(model.predict(obs, deterministic=True)[0], again.predict(obs, deterministic=True)[0])
    assert texts < 2 * ROLLOUT  # far fewer than steps, including the epochs


def test_masked_algorithms_never_choose_what_is_forbidden(ner):
    made = token_env(ner)
    with th.random.fork_rng():
        model = sb3_contrib.MaskablePPO(**classes(made, "gae", masked=True), batch_size=128)
        model.learn(ROLLOUT)
        obs, _ = made.reset(seed=1)
        for _ in range(30):
            masks = made.action_masks()
            actions, _ = model.predict(obs, action_masks=masks)
            assert masks[np.arange(len(masks)), actions].all()
            obs = made.step(actions)[0]
