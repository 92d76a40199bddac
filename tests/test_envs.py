"""The environments: checks, registration, masks of actions, seeds, rendering, pickling."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

import lm_gym
from lm_gym.testing import check_text_env
from tests.tagged import DATA, IDS, MASKED, NER, playable, single, vector


class Aliasing(lm_gym.NEREnv):
    def _observation(self):
        return {key: leaf[0] for key, leaf in self.vector.episodes.observation.items()}


class Unseeded(lm_gym.NEREnv):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class Greedy(lm_gym.NEREnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward + 1, *rest


class Narrow(lm_gym.NEREnv):
    def _observation(self):
        return {key: leaf.astype(np.float32) for key, leaf in super()._observation().items()}


@pytest.mark.parametrize("broken", [Aliasing, Unseeded, Greedy, Narrow])
def test_the_check_finds_what_is_broken(broken):
    with pytest.raises(AssertionError):
        check_text_env(broken(dataset=DATA[NER]))


def test_the_check_takes_text_environments_only():
    with pytest.raises(TypeError, match="neither"):
        check_text_env(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("id_", IDS)
def test_registration_from_the_module_and_back_from_json(id_):
    made = gymnasium.make(f"lm_gym:{id_}", dataset="builtin", unit="sequence")
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(made.spec.to_json()))
    assert again.unwrapped.vector.settings == made.unwrapped.vector.settings


def test_async_vector_env():
    made = gymnasium.make_vec(
        "lm_gym:lm_gym/NER-v0", num_envs=2, vectorization_mode="async", unit="sequence", split="validation"
    )
    try:
        made.reset(seed=1)
        assert made.step(made.action_space.sample())[0]["predictions"].shape[0] == 2
    finally:
        made.close()


def test_sequential_fill_writes_predictions_into_the_text():
    made = vector(MASKED, fill="sequential")
    first, _ = made.reset(seed=0)
    second, *_ = made.step(np.array([50, 51, 52, 53]))
    places = first["positions"][:, 0]
    assert (first["input_ids"][range(4), places] == made.task.tokenizer.mask).all()
    assert second["input_ids"][range(4), places].tolist() == [50, 51, 52, 53]
    assert (first["input_ids"] != second["input_ids"]).sum() == 4
    parallel = vector(MASKED)
    assert (parallel.reset(seed=0)[0]["input_ids"] == first["input_ids"]).all()
    assert (parallel.step(np.array([50, 51, 52, 53]))[0]["input_ids"] == first["input_ids"]).all()


def test_illegal_tags_are_masked_and_played_all_the_same():
    made = vector(mask_actions=True, num_envs=2)
    names = made.task.choice_names
    observation, _ = made.reset(seed=1, options={"indices": np.argsort(-made.task.encoded.counts)[:2]})
    legal = [{names[i] for i in np.flatnonzero(row)} for row in observation["action_mask"]]
    outside = {name for name in names if not name.startswith("I-")}
    assert legal == [outside, outside]
    assert (made.action_masks() == observation["action_mask"]).all()
    observation, *_ = made.step(np.array([names.index("B-PER"), names.index("I-LOC")]))
    legal = [{names[i] for i in np.flatnonzero(row)} for row in observation["action_mask"]]
    assert legal == [outside | {"I-PER"}, outside | {"I-LOC"}]
    assert observation["predictions"][1, 0] == names.index("I-LOC")
    alone = single(mask_actions=True)
    assert alone.action_space.sample(mask=alone.reset(seed=0)[0]["action_mask"]) < len(names)
    assert alone.unwrapped.action_masks().shape == (len(names),)


def test_special_tokens_are_masked_for_whole_texts():
    made = vector(MASKED, unit="sequence", mask_actions=True)
    observation, _ = made.reset(seed=1)
    assert (observation["action_mask"] == made.task.tokenizer.maskable).all()
    masks = made.action_masks().reshape(4, made.task.shape.positions, -1)
    assert (masks == made.task.tokenizer.maskable).all()


def test_masks_change_with_every_pass_and_stay_when_asked_by_indices():
    made = vector(MASKED, num_envs=1, sampling="sequential")
    first = made.reset(seed=1)[0]["positions"]
    second = made.reset(options={"draws": made.num_texts})[0]
    assert made.text_index == [0]
    assert (first != second["positions"]).any()
    asked = [made.reset(seed=seed, options={"indices": [0]})[0]["positions"] for seed in (1, 2)]
    assert (asked[0] == asked[1]).all()


def test_without_a_seed_environments_differ_and_with_one_they_do_not():
    texts = [vector(num_envs=8) for _ in range(2)]
    assert (texts[0].reset()[1]["index"] != texts[1].reset()[1]["index"]).any()
    assert (texts[0].reset(seed=4)[1]["index"] == texts[1].reset(seed=4)[1]["index"]).all()
    assert (texts[0].reset(seed=[5, 6])[1]["index"] == texts[1].reset(seed=5)[1]["index"]).all()
    alone = single()
    assert alone.reset(seed=4)[1]["index"] == alone.reset(seed=4)[1]["index"]
    alone.unwrapped.np_random = np.random.default_rng(0)
    alone.reset()


def test_rendering_shows_right_wrong_and_open():
    made = single(render_mode="ansi", reward="accuracy")
    made.reset(seed=2)
    gold = made.unwrapped.targets[0]
    made.step(int(gold[0]))
    made.step(int(gold[1] + 1) % made.action_space.n)
    shown = made.render()
    names = made.unwrapped.task.choice_names
    assert shown.count("\x1b[32m") == 1
    assert shown.count("\x1b[31m") == 1
    assert f"gold {names[gold[1]]}]" in shown
    assert shown.count("\x1b[33m") == (gold < len(names)).sum() - 2
    masked = vector(MASKED, 2, render_mode="ansi", unit="sequence")
    assert all(isinstance(text, str) for text in masked.reset(seed=0)[1]["text"])
    assert masked.render()[0].count("[MASK]") == (masked.targets[0] < masked.task.shape.choices).sum()
    masked.step(playable(masked.targets, masked.task.shape.choices))
    assert "[MASK]" not in masked.render()[0]
    silent = single()
    silent.reset(seed=0)
    assert silent.render() is None


def test_pickling_in_the_middle():
    made = vector(MASKED, fill="sequential")
    made.reset(seed=1)
    made.step(made.action_space.sample())
    copy = pickle.loads(pickle.dumps(made))
    actions = made.action_space.sample()
    assert data_equivalence(made.step(actions), copy.step(actions), exact=True)


def test_the_single_environment_plays_texts_by_number():
    alone = single()
    for index in (3, np.int64(3), [3], np.array([3])):
        assert alone.reset(options={"indices": index})[1]["index"] == 3
