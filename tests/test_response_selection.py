"""Response selection: candidates in the text, bad input, banks, relevance, metrics, baselines."""

import gymnasium
import numpy as np
import pytest

import lm_gym
from lm_gym.agents import evaluate
from lm_gym.agents.evaluation.playing import baselines
from lm_gym.tasks import Evaluation
from lm_gym.tasks.response_selection import ResponseSelection
from tests.replies import ID, RECORDS, TOKENIZER, bank_of, make


def shown(env, row=0):
    ids = env.reset(seed=0)[0]["input_ids"][row]
    return " ".join(TOKENIZER.id_to_token(id_) for id_ in ids.tolist()).replace(" [PAD]", "")


def test_candidates_stand_in_the_text_before_their_markers():
    assert shown(make()) == "[CLS] a [SEP] b [SEP] c d [MASK] x y [MASK] z [MASK] x [MASK] [SEP]"
    assert shown(make(), 1) == "[CLS] e [MASK] y [MASK] z [MASK] [SEP]"
    assert shown(make(abstain=True), 1) == "[CLS] e [MASK] y [MASK] z [MASK] [MASK] [SEP]"
    assert shown(make(marker="[UNK]"), 1) == "[CLS] e [UNK] y [UNK] z [UNK] [SEP]"


def test_a_long_context_loses_its_beginning_and_no_candidate():
    long = [{"message": "a b c d e a b c d e a b", "candidates": ["x y", "z"], "answer": 0}]
    env = make(long, num_envs=1, max_length=16)
    assert shown(env) == "[CLS] e a b c d e a b [MASK] x y [MASK] z [MASK] [SEP]"
    assert env.unwrapped.cut == (1, 0)


@pytest.mark.parametrize("relevance", [[0, 2, 1], [0.0, 0.5, 0.5]])
def test_the_target_is_the_first_of_the_most_relevant(relevance):
    graded = [{"message": "a", "candidates": ["x", "y", "z"], "relevance": relevance}]
    env = make(graded, num_envs=1)
    env.reset(seed=0)
    assert env.unwrapped.targets.tolist() == [[1]]
    assert env.unwrapped.task.gains(np.zeros(1, np.int64)).tolist() == [relevance]


def test_legal_choices_are_the_candidates_of_each_text():
    for unit in ("token", "sequence"):
        env = make(unit=unit, mask_actions=True)
        observation, _ = env.reset(seed=0)
        assert env.unwrapped.action_masks().tolist() == [[True, True, True], [True, True, False]]
        assert observation["action_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"candidates": []}, {}, "the list of candidates is empty"),
        ({"candidates": ["x", "x"], "answer": 0}, {}, "two candidates are the same"),
        ({"answer": 3}, {}, "answer 3, but there are 3 candidates"),
        ({"answer": 0.5}, {}, r"answer 0\.5"),
        ({"answer": -1}, {}, "no candidate is right"),
        ({"answer": None, "relevance": [0, 1]}, {}, "3 candidates but 2 numbers"),
        ({"answer": None, "relevance": [0, -1, 1]}, {}, "relevance -1"),
        ({"answer": None, "relevance": [0, 0, 0]}, {}, "no candidate is right"),
        ({"answer": None}, {}, "do not tell the right reply"),
        ({"reply": "z"}, {}, "have answer and reply"),
        ({"candidates": None, "answer": None}, {}, "no candidates"),
        ({}, {"max_length": 14}, r"3 candidates need 7 .*1 of them do not fit \('x'\)"),
        ({"message": "a [MASK]"}, {}, r"a text contains '\[MASK\]'"),
        ({}, {"marker": "[SEP]"}, "cannot be the marker"),
        ({}, {"marker": "nope"}, "no token 'nope'"),
        ({}, {"bank": "nowhere.jsonl"}, "nowhere"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    record = {**RECORDS[0], **change}
    record = {name: value for name, value in record.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        make([record], num_envs=1, **options)


ASKED = [{"message": "a b", "reply": "x a b"}, {"message": "c d", "reply": "z"}, {"message": "d", "reply": "y"}]


def test_a_bank_gives_candidates_by_bm25_and_the_right_one(tmp_path):
    bank = bank_of(tmp_path, "x a b", "y c", "c d e", "x a b", "z")
    with pytest.warns(UserWarning, match=r"1 of 5 replies|BM25 does not find"):
        env = make(ASKED, num_envs=3, bank=bank, k=2)
    task = env.unwrapped.task
    listed = [{" ".join(words) for words in task.candidates.of(text)} for text in range(3)]
    assert "x a b" in listed[0]
    assert listed[1] == {"c d e", "z"}  # BM25 prefers replies that share words; the right reply takes the last place
    assert "y" in listed[2]  # although it is not in the bank
    env.reset(seed=0)
    right = [" ".join(task.choice_words(text, int(env.unwrapped.targets[text, 0]))) for text in range(3)]
    assert right == ["x a b", "z", "y"]


def test_a_bank_serves_records_with_candidates_too(tmp_path):
    with pytest.warns(UserWarning, match="BM25 does not find"):
        env = make(bank=bank_of(tmp_path, "z", "x y"), k=2)
    assert {" ".join(words) for words in env.unwrapped.task.candidates.of(1)} == {"y", "z"}
    env.reset(seed=0)
    assert env.unwrapped.task.choice_words(1, int(env.unwrapped.targets[1, 0])) == ["y"]


def test_relevance_pays_what_a_reply_is_worth():
    graded = [{"message": "a", "candidates": ["x", "y", "z"], "relevance": [0, 2, 0.5]}]
    env = make(graded, num_envs=1, abstain=True, reward="relevance", reward_kwargs={"wrong_cost": 3.0})
    env.reset(seed=0)
    paid = [float(env.unwrapped.position_rewards(np.array([[choice]]))[0, 0]) for choice in range(4)]
    assert paid == [0.0, -3.0, 2.0, 0.5]
    gold, others = env.unwrapped.choice_rewards()
    assert gold.tolist() == [[2.0]]
    assert others.tolist() == [[paid]]
    assert env.unwrapped.reward.minimum == -3.0


def test_metrics_are_those_computed_by_hand():
    env = make([*RECORDS, {"turns": [], "message": "b", "candidates": ["x", "y"], "answer": -1}], abstain=True)
    offsets, flat = np.arange(4), {"choices": [0, 2, 0], "targets": [2, 1, 0], "places": [0, 0, 0]}
    arrays = {name: np.array(values) for name, values in flat.items()}
    played = Evaluation(
        env.unwrapped.task, np.arange(3), offsets, **arrays, target_log_probs=None,
        returns=np.zeros(3, np.float32), target_ranks=np.array([3, 2, 1]),
    )  # fmt: skip
    assert played.metrics["accuracy"] == pytest.approx(1 / 3)
    assert played.metrics["mrr"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert played.metrics["recall_at_2"] == pytest.approx(2 / 3)
    assert played.metrics["recall_at_3"] == 1.0
    assert played.metrics["abstention_rate"] == pytest.approx(2 / 3)
    assert played.metrics["selective_risk"] == 1.0


def test_baselines_choose_among_the_candidates():
    words = [
        {"message": "a b", "candidates": ["x", "a b c", "y z"], "answer": 1},
        {"message": "c", "candidates": ["x", "c d"], "answer": 0},
    ]
    env = make(words)
    found = {row.name: evaluate(row.make(env.unwrapped.task), env.unwrapped) for row in ResponseSelection.baselines}
    assert found["bm25"].choices.tolist() == [1, 1]
    assert found["bm25"].metrics["mrr"] == 0.75
    assert found["majority"].choices.tolist() == [0, 0]
    assert (found["random"].choices < [3, 2]).all()


def test_classical_baselines_are_far_from_right():
    env = gymnasium.make_vec(ID, num_envs=64, unit="sequence", split="test")
    found = baselines(env.unwrapped)
    assert found["bm25"]["accuracy"] < 0.75
    assert found["majority"]["accuracy"] < 0.4
    assert found["random"]["accuracy"] < 0.4


def test_the_task_is_registered():
    assert lm_gym.TASKS["response_selection"] is ResponseSelection
