"""Rules of finished texts, their reward and metric, and tokens drawn at a temperature."""

import gymnasium
import numpy as np
import pytest

import lm_gym
from lm_gym.agents import evaluate
from lm_gym.builtin.puzzles import sudoku_grids
from lm_gym.registry import UserCodeError
from lm_gym.tasks import Prediction
from lm_gym.tasks.rules import RULES, obeys
from lm_gym.tasks.unmasking_options import UnmaskingOptions
from tests.cases import tokenizer, word_level

ID = "lm_gym/Unmasking-v0"


def rows(*texts):
    """Return texts of single characters in the form that a rule gets."""
    lengths = np.array([len(text) for text in texts])
    return np.array([[*text, *[""] * (max(lengths) - len(text))] for text in texts]), lengths


def test_the_rule_of_sudoku_knows_all_grids_and_no_other():
    grids = ["".join(map(str, grid)) for grid in sudoku_grids().tolist()]
    assert obeys("sudoku", *rows(*grids)).all()
    swapped = [grid[1] + grid[0] + grid[2:] for grid in grids]  # a row is as before, two columns are not
    assert not obeys("sudoku", *rows(*swapped)).any()
    boxes = "1234234134124123"  # rows and columns are right, boxes are not
    zeros = grids[0].replace("4", "0")
    assert obeys("sudoku", *rows(boxes, zeros, grids[0][:15], grids[0])).tolist() == [False, False, False, True]


def test_the_rule_of_sudoku_knows_larger_grids():
    base = [(3 * (row % 3) + row // 3 + column) % 9 + 1 for row in range(9) for column in range(9)]
    text = "".join(map(str, base))
    assert obeys("sudoku", *rows(text, text[::-1], text[:80] + "9", "1" * 81)).tolist() == [True, True, False, False]


def test_the_rule_of_sums():
    texts = ["17+25=42", "17+25=43", "1+1=2", "+1=1", "1+1+1=3", "1=0+1", "1+1=", "99999999999999999999+1=1" + "0" * 20]
    assert obeys("arithmetic", *rows(*texts)).tolist() == [True, False, True, False, False, False, False, True]
    open_, lengths = rows("1+1=2")
    open_ = np.where(open_ == "2", "[MASK]", open_)
    assert not obeys("arithmetic", open_, lengths).any()


def test_a_rule_that_fails_is_named():
    RULES["no_rule"] = lambda tokens, lengths: lengths
    RULES["broken"] = lambda tokens, lengths: 1 / 0
    try:
        with pytest.raises(UserCodeError, match="rule 'no_rule' returned int64 of shape"):
            obeys("no_rule", *rows("12"))
        with pytest.raises(UserCodeError, match="rule 'broken' failed: ZeroDivisionError"):
            obeys("broken", *rows("12"))
    finally:
        del RULES["no_rule"], RULES["broken"]
    with pytest.raises(ValueError, match="did you mean 'sudoku'"):
        UnmaskingOptions(rule="sudoko")


SUMS = [{"tokens": list("1+2=3"), "clues": [0, 1, 3]}, {"tokens": list("2+2=4"), "clues": [1, 3]}]


def sums(num_envs=2, **options):
    source = {"dataset": {"train": SUMS}, "tokenizer": tokenizer(ID), "autoreset_mode": "Disabled"}
    return gymnasium.make_vec(ID, num_envs=num_envs, rule="arithmetic", reward="rule", **source, **options)


def ids(env, text):
    return [env.task.tokenizer.tokenizer.token_to_id(character) for character in text]


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_the_reward_of_a_rule_is_paid_at_the_end_whatever_gold_is(unit):
    env = sums(unit=unit, per_step=1)
    env.reset(options={"indices": [1, 1]})
    right, wrong = ids(env, "314"), ids(env, "224")
    wrong[2] = right[0]
    paid = []
    for slot in range(3):
        actions = np.array([right, wrong])
        paid.append(env.step(actions[:, slot] if unit == "token" else actions)[1].tolist())
    assert paid == [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]


def test_samples_of_whole_texts_are_checked_together():
    env = sums()
    env.reset(options={"indices": [0, 1]})
    one = np.array([[*ids(env, "45"), 0], ids(env, "134")])  # 1+4=5 and 1+3=4
    other = np.array([[*ids(env, "44"), 0], ids(env, "133")])
    paid = env.position_rewards(np.stack([one, other]))
    assert paid.tolist() == [[[0, 1, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]


def test_the_metric_valid_goes_by_the_rule_and_exact_by_gold():
    env = sums(unit="sequence", per_step=2)
    said = np.array([[*ids(env, "23"), 0], ids(env, "134")])
    played = evaluate(lambda batch: Prediction(said[batch.text_index], None), env)
    assert played.metrics["valid"] == 1.0
    assert played.metrics["exact"] == 0.5
    assert played.metrics["mean_reward"] == 1.0


def test_without_a_rule_there_is_neither_its_reward_nor_its_metric():
    with pytest.raises(ValueError, match="reward 'rule' needs gold of kind rule, but this task has choice"):
        gymnasium.make(ID, reward="rule")
    env = gymnasium.make_vec(ID, 2, dataset={"train": SUMS}, tokenizer=tokenizer(ID), unit="sequence")
    assert "valid" not in evaluate(lambda batch: Prediction(np.zeros(batch.targets.shape, int), None), env).metrics


# ---------------------------------------------------------------------- temperature


def drawing(num_envs, temperature, **options):
    source = {"dataset": {"train": [{"tokens": list("121")}]}, "tokenizer": word_level("12")}
    return gymnasium.make_vec(
        ID,
        num_envs=num_envs,
        actions="distribution",
        temperature=temperature,
        autoreset_mode="Disabled",
        **source,
        **options,
    )


def drawn(env, log_probs, **reset):
    env.reset(**reset)
    return env.step(np.broadcast_to(log_probs, env.action_space.shape).astype(np.float32))[0]["predictions"]


@pytest.mark.parametrize("options", [{"unit": "token"}, {"unit": "sequence"}, {"unit": "sequence", "per_step": None}])
def test_tokens_are_drawn_at_the_temperature(options):
    env = drawing(4000, 2.0, **options)
    log_probs = np.log([1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 0.9, 0.1])
    found = drawn(env, log_probs, seed=1)[:, 0]
    expected = np.sqrt(0.9) / (np.sqrt(0.9) + np.sqrt(0.1))  # p^(1/2), normalised
    assert (found == 5).mean() == pytest.approx(expected, abs=0.03)
    assert (drawn(env, log_probs, seed=1)[:, 0] == found).all()
    assert (drawn(env, log_probs, seed=2)[:, 0] != found).any()


def test_a_low_temperature_takes_the_most_probable_tokens():
    assert (drawn(drawing(50, 0.01, unit="token"), np.log([0.1] * 5 + [0.3, 0.2]), seed=1)[:, 0] == 5).all()


def test_the_confidence_of_a_drawn_token_is_its_own_probability():
    env = drawing(200, 1.0, unit="sequence", order="confidence")
    env.reset(seed=1)
    scores = np.full((200, 3, 7), -1e4, np.float32)
    scores[..., 5], scores[..., 6] = 0.0, -1.0
    predictions = env.step(scores)[0]["predictions"]
    rare = env.task.choose(scores.reshape(-1, 7), env.episodes.uniforms.reshape(-1)) == 6
    assert rare.any()
    assert ((predictions == 6).sum(1) <= 1).all()
    assert (predictions == 6).any(1).mean() < 0.05  # three positions drew it together, e⁻¹ / (1 + e⁻¹) cubed is 0.02


def test_a_temperature_needs_distributions():
    with pytest.raises(ValueError, match="needs the policy's distributions"):
        gymnasium.make(ID, temperature=1.0)


def test_the_last_step_of_a_learned_order_fills_what_a_distribution_would_leave_open():
    source = {"dataset": {"train": SUMS}, "tokenizer": tokenizer(ID)}
    env = gymnasium.make_vec(
        ID,
        2,
        unit="sequence",
        actions="distribution",
        order="learned",
        max_steps=2,
        autoreset_mode="Disabled",
        **source,
    )
    env.reset(seed=0)
    waiting = np.zeros(env.action_space.shape, np.float32)
    waiting[..., 7], waiting[..., -1] = 1.0, 9.0
    assert (env.step(waiting)[0]["predictions"] == env.task.shape.choices).all()
    predictions = env.step(waiting)[0]["predictions"]
    assert (predictions[env.targets < env.task.shape.choices] == 7).all()


def test_rules_of_your_own_are_named_by_their_module(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text("def ends(tokens, lengths):\n    return tokens[:, 0] == '1'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    env = lm_gym.find_task(ID)
    assert env.Options(rule="my_rules:ends").rule == "my_rules:ends"
    assert obeys("my_rules:ends", *rows("12", "21")).tolist() == [True, False]
    del RULES["ends"]
