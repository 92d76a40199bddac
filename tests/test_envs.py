"""The environments: dynamics, autoreset, options."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

import lm_gym
from lm_gym.testing import check_text_env

IDS = ("lm_gym/NER-v0", "lm_gym/MaskedLM-v0")
NER, MASKED = IDS
PROSE = "the river runs to a house of many rooms where an old man reads about Paris and Mary Jones"
TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-MISC", "I-MISC")


def letters(num_texts, seed):
    """Return texts of 3 to 14 words with random tags."""
    rng = np.random.default_rng(seed)
    for length in rng.integers(3, 15, num_texts):
        yield rng.choice(PROSE.split(), length).tolist(), ["O", *rng.choice(TAGS, length - 1).tolist()]


TAGGED = lm_gym.Dataset.from_sentences(
    "tagged", letters(60, 0), letters(20, 1), letters(20, 2), scheme="conlleval", max_overlap=1
)
DATA = dict.fromkeys(IDS, TAGGED)


def vector(id_=NER, num_envs=4, **options):
    return gymnasium.make_vec(id_, num_envs=num_envs, dataset=DATA[id_], **options)


def single(id_=NER, **options):
    return gymnasium.make(id_, dataset=DATA[id_], **options)


def playable(targets, choices):
    """Return the gold choices, 0 where padded."""
    return np.where(targets < choices, targets, 0)


def test_a_function_pays():
    made = vector(unit="sequence", reward=lambda given, gold, mask: ((given == gold) & mask).sum(-1))
    made.reset(seed=1)
    gold = playable(made.targets, made.task.shape.choices)
    counts = (made.targets < made.task.shape.choices).sum(1)
    assert (made.step(gold)[1] == counts).all()


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


def test_next_step_resets_on_the_next_step_whatever_the_action():
    made = vector(unit="sequence")
    made.reset(seed=0)
    ended = made.step(made.action_space.sample())
    assert ended[2].all()
    played = made.text_index
    observation, rewards, terminated, _, info = made.step(made.action_space.sample() + 1000)
    assert not terminated.any()
    assert (rewards == 0).all()
    assert (info["_index"]).all()
    assert (info["index"] != played).any()
    assert (observation["predictions"] == made.task.shape.choices).all()


def test_same_step_shows_the_last_observation():
    made = vector(unit="sequence", autoreset_mode="SameStep")
    assert made.metadata["autoreset_mode"] is made.autoreset_mode is AutoresetMode.SAME_STEP
    made.reset(seed=0)
    gold = playable(made.targets, made.task.shape.choices)
    inside = made.targets < made.task.shape.choices
    observation, _, _, _, info = made.step(gold)
    for row in range(4):
        assert (info["final_obs"][row]["predictions"][inside[row]] == gold[row][inside[row]]).all()
    assert (observation["predictions"] == made.task.shape.choices).all()
    assert (info["final_info"]["position_rewards"] == info["position_rewards"]).all()


def test_disabled_waits_for_a_reset():
    made = vector(unit="token", autoreset_mode=AutoresetMode.DISABLED)
    made.reset(seed=0)
    ended = np.zeros(4, np.bool_)
    while not ended.any():
        ended = made.step(made.action_space.sample())[2]
    with pytest.raises(ResetNeeded, match="have ended"):
        made.step(made.action_space.sample())
    before = made.text_index
    observation, info = made.reset(options={"reset_mask": ended})
    assert (info["_index"] == ended).all()
    assert (made.text_index[~ended] == before[~ended]).all()
    assert (observation["cursor"][ended] == 0).all()
    assert (observation["cursor"][~ended] > 0).all()
    made.step(made.action_space.sample())


def test_max_episode_steps_truncates_the_vector_environment():
    made = vector(max_episode_steps=2, autoreset_mode="SAME_STEP")
    made.reset(seed=0, options={"indices": np.argsort(-made.task.encoded.counts)[:4]})
    assert not made.step(made.action_space.sample())[3].any()
    assert made.step(made.action_space.sample())[3].all()
    made.step(made.action_space.sample())


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


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_distributions_are_normalised(id_, scale):
    """The log score ignores a constant added to all logits, and its mean is the negative cross-entropy."""
    made = vector(id_, unit="sequence", actions="distribution", reward="log_likelihood")
    made.reset(seed=3)
    rng = np.random.default_rng(0)
    scores = scale * rng.normal(size=made.action_space.shape).astype(np.float32)
    inside = made.targets < made.task.shape.choices
    gold = playable(made.targets, made.task.shape.choices)
    exact = scores - np.logaddexp.reduce(scores.astype(np.float64), axis=-1, keepdims=True)
    expected = np.where(inside, np.take_along_axis(exact, gold[..., None], -1)[..., 0], 0)
    np.testing.assert_allclose(made.position_rewards(scores), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made.position_rewards(scores + 7), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("reward", ["log_likelihood", "accuracy", "f1", {"f1": 1.0, "log_likelihood": 0.1}])
def test_distributions_may_be_given_by_their_choice_and_the_gold_log_probability(reward):
    env = vector(unit="sequence", actions="distribution", reward=reward)
    env.reset(seed=3)
    scores = np.random.default_rng(0).normal(size=(5, *env.targets.shape, 9))
    log_probs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    gold = np.take_along_axis(log_probs, playable(env.targets, 9)[None, ..., None], -1)[..., 0]
    expected = env.position_rewards(scores)
    np.testing.assert_allclose(env.position_rewards(scores.argmax(-1), gold), expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected.sum((1, 2))) > 0


@pytest.mark.parametrize(
    ("actions", "shape", "value", "message"),
    [
        ("token", (4, 14), -1.0, "leave them out"),
        ("distribution", (4, 13), -1.0, "one for each"),
        ("distribution", (4, 14), 0.5, "at most 0"),
        ("distribution", (4, 14), np.nan, "finite"),
    ],
)
def test_bad_gold_log_probabilities(actions, shape, value, message):
    env = vector(unit="sequence", actions=actions)
    env.reset(seed=0)
    assert env.targets.shape == (4, 14)
    with pytest.raises(ValueError, match=message):
        env.position_rewards(np.zeros((4, 14), np.int64), np.full(shape, value))


def test_distributions_decide_by_their_most_likely_choice():
    made = vector(actions="distribution", reward="accuracy")
    made.reset(seed=3)
    scores = np.zeros((4, made.task.shape.choices), np.float32)
    scores[range(4), made.targets[:, 0]] = 1
    observation, rewards, *_ = made.step(scores)
    assert (rewards == 1).all()
    assert (observation["predictions"][:, 0] == made.targets[:, 0]).all()


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


def test_terms_of_a_sum_are_reported():
    made = vector(unit="sequence", reward={"f1": 1.0, "accuracy": 0.5}, dense=False)
    made.reset(seed=1)
    actions = made.action_space.sample()
    terms = made.reward_terms(actions)
    paid = made.position_rewards(actions)
    np.testing.assert_allclose((terms["f1"] + 0.5 * terms["accuracy"]).sum(1), paid.sum(1), atol=1e-5)
    info = made.step(actions)[4]
    assert (info["reward_terms"]["accuracy"] == terms["accuracy"]).all()
    alone = single(unit="sequence", reward={"f1": 1.0, "accuracy": 0.5})
    alone.reset(seed=0)
    assert set(alone.step(alone.action_space.sample())[4]["reward_terms"]) == {"f1", "accuracy"}


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


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_a_reference_model_sees_texts_as_they_were_opened(unit):
    seen = []

    def reference(observation):
        seen.append(observation)
        return np.full((*observation["positions"].shape, 4096), -np.log(4096))

    options = {"fill": "sequential"} if unit == "token" else {}
    made = vector(MASKED, unit=unit, reward=lm_gym.rewards.LogLikelihood(0.2, reference), **options)
    first, _ = made.reset(seed=0)
    wrong = (made.targets + 1) % 4096
    rewards = made.step(wrong[:, 0] if unit == "token" else wrong)[1]
    counts = first["position_mask"].sum(1) if unit == "sequence" else 1
    np.testing.assert_allclose(rewards, counts * np.log(0.2 / 4096), rtol=1e-5)
    assert len(seen) == 1
    for key, leaf in seen[0].items():
        assert (leaf == first[key]).all()
    assert made.task.shape.choices == 4096


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_some_rows_play_and_the_others_are_out_until_they_are_reset(unit):
    made = vector(unit=unit, autoreset_mode="DISABLED")
    made.reset(seed=0)
    playing = np.array([True, False, True, False])
    gold = playable(made.targets, made.task.shape.choices)
    before = made.episodes.observe(np.arange(4))
    rewards, terminated, _, _ = made.advance(gold[:, 0] if unit == "token" else gold, playing)
    after = made.episodes.observe(np.arange(4))
    assert (rewards[~playing] == 0).all()
    assert not terminated[~playing].any()
    for key, leaf in before.items():
        assert (leaf[~playing] == after[key][~playing]).all()
    assert (before["predictions"][playing] != after["predictions"][playing]).any(1).all()
    with pytest.raises(ResetNeeded, match=r"\[1, 3\]|\[0, 1, 2, 3\]"):
        made.step(made.action_space.sample())
    made.reset(options={"reset_mask": ~playing | terminated})
    made.step(made.action_space.sample())
    other = vector()
    other.reset(seed=0)
    with pytest.raises(ValueError, match="rows need autoreset_mode 'Disabled'"):
        other.advance(other.action_space.sample(), playing)
