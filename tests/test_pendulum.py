"""Pendulum, compared with sb3-contrib's ARS with the same number of steps."""

import numpy as np
import pytest
from gymnasium.wrappers import RescaleObservation
from sb3_contrib import ARS
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from lm_gym.agents.algorithms.presets import CMAES

STEPS = 60 * 16 * 4 * 200  # generations, members, episodes of each, their steps


@pytest.mark.slow
def test_pendulum_is_swung_up_where_augmented_random_search_is_not_yet():
    high = np.array([1, 1, 8 / 3], np.float32)  # cosine, sine, and speed in units of 3 rad/s
    scaled = {"wrapper_class": RescaleObservation, "wrapper_kwargs": {"min_obs": -high, "max_obs": high}}
    env = make_vec_env("Pendulum-v1", n_envs=4, seed=0, **scaled)
    model = CMAES(
        "MlpPolicy",
        env,
        seed=0,
        policy_kwargs={"net_arch": [8]},
        search_space="full",
        search_space_kwargs={"scale": 1.0},
        optimizer_kwargs={"popsize": 16, "sigma": 2.0},
    )
    model.learn(STEPS)
    theirs = ARS("MlpPolicy", env, n_delta=4, n_top=1, learning_rate=0.018, delta_std=0.1, zero_policy=False,
                 policy_kwargs={"net_arch": [16]}, seed=0).learn(STEPS)  # fmt: skip
    ours, reference = (evaluate_policy(m, env, 100)[0] for m in (model, theirs))
    assert ours >= -300  # random: about -1,200; hanging: -1,600; standing after the swing: from about -300
    assert ours >= reference - 50
