"""The adapter to Stable-Baselines3, compared with its own DummyVecEnv."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import lm_gym
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.following import SEED, Following, Script

WORDS = [(f"w{i} x y z".split()[: 1 + i % 4], ["O", "B-A", "I-A", "B-B"][: 1 + i % 4]) for i in range(40)]
DATA = lm_gym.Dataset.from_sentences("adapter", WORDS, max_overlap=1)
MODES = ("SAME_STEP", "NEXT_STEP", "DISABLED")


def adapter(mode="SAME_STEP", num_envs=4, **options):
    options.setdefault("dataset", DATA)
    return VecEnvAdapter(gymnasium.make_vec("lm_gym/NER-v0", num_envs=num_envs, autoreset_mode=mode, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("unit", "limit"), [("token", None), ("token", 3), ("sequence", None)])
@pytest.mark.parametrize("reward", ["f1", {"accuracy": 1.0, "f1": 0.5}])
def test_equal_to_a_dummy_vec_env_through_hundreds_of_episode_ends(mode, unit, limit, reward):
    """Compared with monitored single environments that play the same texts, every array and info is the same."""
    options = {"unit": unit, "reward": reward, "max_episode_steps": limit}
    ours = adapter(mode, **options)
    singles = [Following(gymnasium.make("lm_gym/NER-v0", dataset=DATA, **options)) for _ in range(4)]
    theirs = DummyVecEnv([lambda one=one: Monitor(one) for one in singles])
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.seed(SEED)
    mine = ours.reset()
    script = Script(ours.vector, singles)
    assert_same(mine, theirs.reset())
    ours.vector.action_space.seed(0)
    ends = 0
    while ends < 300:
        assert [info["index"] for info in ours.reset_infos] == [info["index"] for info in theirs.reset_infos]
        actions = ours.vector.action_space.sample()
        mine, rewards, done, infos = ours.step(actions)
        script.note(done)
        other, their_rewards, their_done, their_infos = theirs.step(actions)
        assert_same(mine, other)
        assert rewards.dtype == their_rewards.dtype
        np.testing.assert_allclose(rewards, their_rewards, atol=1e-6)
        assert (done == their_done).all()
        ends += done.sum()
        for info, their_info in zip(infos, their_infos, strict=True):
            assert_same_info(info, their_info)
            assert ("reward_terms" in info) is (unit == "sequence" and reward != "f1")


def assert_same(mine, other):
    assert mine.keys() == other.keys()
    for key, leaf in mine.items():
        assert leaf.dtype == other[key].dtype
        assert (leaf == other[key]).all()


def assert_same_info(mine, other):
    """`TimeLimit.truncated` is set only at ends; DummyVecEnv sets it at every step."""
    assert mine.keys() | {"TimeLimit.truncated"} == other.keys()
    assert mine.get("TimeLimit.truncated", False) is other["TimeLimit.truncated"]
    assert ("terminal_observation" in mine) is ("TimeLimit.truncated" in mine)
    if "episode" in mine:
        assert mine["episode"]["l"] == other["episode"]["l"]
        assert mine["episode"]["r"] == pytest.approx(other["episode"]["r"], abs=1e-5)
        assert_same(mine["terminal_observation"], other["terminal_observation"])
    for key in ("position_rewards", "reward_terms"):
        assert data_equivalence(mine.get(key), other.get(key))


@pytest.mark.parametrize("mode", MODES)
def test_truncated_episodes_say_so(mode):
    made = adapter(mode, max_episode_steps=2)
    made.set_options({"indices": np.array([3, 7, 11, 15])})
    made.reset()
    assert not made.step(np.zeros(4, np.int64))[2].any()
    _, _, done, infos = made.step(np.zeros(4, np.int64))
    assert done.all()
    assert all(info["TimeLimit.truncated"] and info["episode"]["l"] == 2 for info in infos)


def test_options_and_seeds_reach_the_environment_once():
    made = adapter()
    made.set_options({"indices": np.array([5, 4, 3, 2])})
    made.reset()
    assert made.vector.text_index.tolist() == [5, 4, 3, 2]
    made.set_options([{"indices": i} for i in range(4)])
    made.reset()
    assert made.vector.text_index.tolist() == [0, 1, 2, 3]
    made.seed(8)
    made.set_options({"draws": 12})
    made.reset()
    assert made.get_attr("draws") == [16] * 4
    expected = made.vector.reset(seed=8, options={"draws": 16})[1]["index"]
    made.seed(8)
    made.set_options({"draws": 12})
    made.reset()
    made.reset()
    assert (made.vector.text_index == expected).all()
    with pytest.raises(ValueError, match="each with only `indices`"):
        made.set_options([{"draws": 1}] * 4)


def test_attributes_and_methods():
    made = adapter()
    made.reset()
    assert made.has_attr("targets")
    assert not made.has_attr("nothing")
    assert made.get_attr("split", [0, 2]) == ["train", "train"]
    masks = made.env_method("action_masks", indices=[1, 3])
    assert [mask.shape for mask in masks] == [(5,), (5,)]
    assert made.env_method("render_row", 0)[0] == made.vector.render_row(0)
    assert made.env_is_wrapped(Monitor) == [True] * 4
    assert made.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [False] * 4
    made.set_attr("render_mode", "ansi")
    assert len(made.env_method("render")) == 4
    assert made.get_images() == [None] * 4
    made.close()


def test_strangers_are_refused():
    with pytest.raises(TypeError, match="CartPole"):
        VecEnvAdapter(gymnasium.make_vec("CartPole-v1", num_envs=2))
    wrapped = gymnasium.wrappers.vector.RecordEpisodeStatistics(adapter().vector)
    with pytest.raises(TypeError, match="unwrapped"):
        VecEnvAdapter(wrapped)


@pytest.mark.filterwarnings("ignore:.*render_mode='rgb_array' that is not in the possible render_modes")
def test_the_helpers_of_stable_baselines3_take_an_id():
    """The helpers ask for images first, and for no render mode after a TypeError."""
    made = make_vec_env("lm_gym/NER-v0", n_envs=2, env_kwargs={"dataset": DATA})
    callback = EvalCallback(make_vec_env("lm_gym/NER-v0", env_kwargs={"dataset": DATA}), eval_freq=8, verbose=0)
    PPO("MultiInputPolicy", made, n_steps=8, batch_size=8, n_epochs=1).learn(16, callback=callback)
    assert np.isfinite(callback.last_mean_reward)
    for env_id in ("lm_gym/NER-v0", "lm_gym/MaskedLM-v0"):
        assert PPO("MultiInputPolicy", env_id, n_steps=8, batch_size=8).env.num_envs == 1


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_ppo_learns_and_is_evaluated(unit):
    model = PPO(
        "MultiInputPolicy", adapter(unit=unit, reward="accuracy"), n_steps=16, batch_size=32, n_epochs=1, seed=0
    )
    model.learn(128)
    assert len(model.ep_info_buffer) > 10
    mean, _ = evaluate_policy(model, adapter(unit=unit, reward="accuracy", num_envs=2), 6)
    assert 0 <= mean <= 4


@pytest.mark.parametrize("mode", ["SAME_STEP", "DISABLED"])
def test_a_state_goes_on_with_its_episode_statistics(mode):
    made, other = (adapter(mode, group_size=2) for _ in range(2))
    made.seed(3)
    made.reset()
    for _ in range(7):
        made.step(np.arange(4))
    observation = other.set_state(made.get_state())
    assert all(np.array_equal(leaf, made.vector.episodes.observation[key]) for key, leaf in observation.items())
    for _ in range(30):
        (_, *one), (_, *two) = (each.step(np.arange(4)) for each in (made, other))
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])
        for info, same in zip(one[2], two[2], strict=True):
            assert [info.get("episode", {}).get(k) for k in "rl"] == [same.get("episode", {}).get(k) for k in "rl"]
