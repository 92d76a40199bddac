"""Text classification: texts and templates, data by path, costs, baselines."""

import json

import gymnasium
import numpy as np
import pytest

import lm_gym
from lm_gym.agents.evaluation.playing import baselines
from lm_gym.costs import Costs
from lm_gym.data import DataError
from lm_gym.tasks import TextClassification
from tests.labelled import ID, TEMPLATE, TEXTS, WORDS, causal, dataset, shown, task
from tests.test_tasks import wordpiece


@pytest.mark.parametrize(
    ("record", "options", "tokens"),
    [
        (("a bs", "up"), {}, "([CLS]) a b ##s [SEP]"),
        (("a bs", "up"), {"template": "f {text} g"}, "([CLS]) f a b ##s g [SEP]"),
        (("a bs", "up"), {"template": TEMPLATE, "label_words": WORDS}, "[CLS] f a b ##s g ([MASK]) [UNK] [SEP]"),
        (("a bs", "up"), {"template": "{mask} {text}", "label_words": WORDS}, "[CLS] ([MASK]) a b ##s [SEP]"),
        (("a bs", "up", "cer"), {}, "([CLS]) a b ##s [SEP] c ##er [SEP]"),
        (("a bs", "up", "cer"), {"template": "{second} d {text}"}, "([CLS]) c ##er d a b ##s [SEP]"),
    ],
)
def test_what_a_model_reads(record, options, tokens):
    other = ("b", "down", "b")[: len(record)]
    assert " ".join(shown(task([record, other], **options), 0)) == tokens


def test_a_causal_model_answers_at_the_end():
    options = {"template": "x: {text}\ny:", "label_words": {"up": "a", "down": "b"}}
    made = task(tokenizer=causal(), **options)
    assert "".join(shown(made, 1)) == "Ġx:ĠdĊy(:)"
    assert "".join(shown(task(tokenizer=causal()), 1)) == "Ġ(d)"


@pytest.mark.parametrize(
    ("max_length", "kept"),
    [(64, (6, 2)), (9, (4, 2)), (8, (3, 2)), (6, (2, 1)), (5, (1, 1))],
)
def test_long_pairs_lose_the_end_of_the_longer_text(max_length, kept):
    made = task([("a b c d e f", "up", "g h"), ("a", "down", "b")], max_length=max_length)
    tokens = " ".join(shown(made, 0))
    first, second = [["a", "b", "c", "d", "e", "f"][: kept[0]], ["g", "h"][: kept[1]]]
    assert tokens == " ".join(["([CLS])", *first, "[SEP]", *second, "[SEP]"])
    assert made.encoded.cut == (int(max_length < 64), 0)


def test_every_text_is_one_decision():
    made = task()
    opened = made.open(np.arange(4), np.zeros(4, np.int64), 0)
    assert made.shape == (10, 1, 2)
    assert opened.counts.tolist() == [1] * 4
    assert opened.targets[:, 0].tolist() == [1, 0, 1, 0]
    assert made.target_counts.tolist() == [2, 2]
    assert made.choice_names == ("down", "up")


BAD = [
    ({"template": "f g"}, r"has no \{text\}"),
    ({"template": "{text} {words}"}, r"no placeholder \{words\}.*there are mask, text"),
    ({"template": "{text} {text}"}, r"\{text\} occurs twice"),
    ({"template": "{text} {second}"}, r"no placeholder \{second\}"),
    ({"template": "{text"}, r"write \{\{ and \}\}"),
    ({"template": "{text} {mask}"}, "give the label_words"),
    ({"template": "{text} f", "label_words": WORDS}, r"has no \{mask\}"),
    ({"label_words": WORDS}, "need a template"),
    ({"calibrate": True}, "give label_words"),
    ({"template": TEMPLATE, "label_words": {"up": "a"}}, "no word for down"),
    ({"template": TEMPLATE, "label_words": {**WORDS, "dwn": "a"}}, r"no label 'dwn' \(did you mean 'down'\?\)"),
    ({"template": TEMPLATE, "label_words": {"up": "a", "down": ["b", "a"]}}, "'a' stands for 'down' and for 'up'"),
    ({"template": TEMPLATE, "label_words": {"up": "a", "down": "?"}}, r"does not know '\?'"),
    ({"label_words": "up"}, "label_words='up' is not a mapping"),
    ({"costs": {"up": {"dwn": 2.0}}}, r"no choice 'dwn' \(did you mean 'down'\?\)"),
    ({"costs": {"up": {"down": -2.0}}}, "is -2.0: give a finite number, 0 or more"),
    ({"costs": {"up": 2.0}}, "name the choice made"),
    ({"max_length": 4, "template": "f f {text}"}, "max_length=4 leaves no room next to the template: give at least 5"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_a_mask_that_the_tokenizer_has_not():
    with pytest.raises(ValueError, match=r"has no mask token: leave {mask} out"):
        task(tokenizer=causal(), template=TEMPLATE, label_words=WORDS)


@pytest.mark.parametrize("columns", [("text", "label"), ("sentence", "class"), ("headline", "sentiment")])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_any_file_with_a_text_and_a_label(ending, columns, tmp_path):
    rows = [dict(zip(columns, record, strict=True)) for record in TEXTS]
    path = tmp_path / f"train.{ending}"
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text("".join(mark.join(row) + "\n" for row in [columns, *TEXTS]))
    env = gymnasium.make(ID, dataset=str(path), tokenizer=wordpiece())
    assert env.unwrapped.task.choice_names == ("down", "up")
    assert env.unwrapped.num_texts == 4


def test_pairs_by_their_usual_names(tmp_path):
    path = tmp_path / "train.jsonl"
    pairs = [{"sentence1": "a", "sentence2": "b c", "label": 1}, {"sentence1": "d", "sentence2": "e", "label": 0}]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    env = gymnasium.make(ID, dataset=str(path), tokenizer=wordpiece())
    assert " ".join(shown(env.unwrapped.task, 0)) == "([CLS]) a [SEP] b c [SEP]"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": TEXTS, "test": [("a", "sideways")]}, "label 'sideways' is not in the training split"),
        ({"train": [("a", "up"), ("b", "up")]}, "all texts have the label up: at least two are needed"),
    ],
)
def test_data_that_cannot_be_played(splits, message):
    rows = {split: [{"text": t, "label": y} for t, y in records] for split, records in splits.items()}
    with pytest.raises(DataError, match=message):
        gymnasium.make(ID, dataset=rows, tokenizer=wordpiece())


def test_texts_without_words_are_left_out_and_counted():
    data = dataset([*TEXTS[:2], (" ", "up"), TEXTS[2]])
    assert data["train"].columns["label"].values.tolist() == [1, 0, 1]
    assert "1 of 4 rows have no words" in data.notes[0]


def test_data_of_another_task_names_its_environment():
    tagged = [{"text": "a b c", "tags": "O B-X O"}]
    with pytest.raises(DataError, match="use lm_gym/NER-v0"):
        gymnasium.make(ID, dataset=tagged)
    with pytest.raises(DataError, match="use lm_gym/TextClassification-v0"):
        gymnasium.make("lm_gym/NER-v0", dataset=[{"text": "a b c", "label": "up"}])


def test_costs_by_hand():
    costs = Costs({"b": {"a": 5.0, "b": 0.5}}, ("a", "b", "c"))
    gold, chosen = np.array([[0, 0], [1, 1], [1, 2]]), np.array([[0, 1], [0, 1], [2, 0]])
    assert costs(gold, chosen).tolist() == [[0, 1], [5, 0.5], [1, 1]]
    assert costs.largest == 5.0


def test_the_reward_takes_the_costs_of_the_task_or_its_own():
    make = {"id": ID, "dataset": dataset(), "tokenizer": wordpiece(), "reward": "cost", "unit": "sequence"}
    costs = {"up": {"down": 4.0}}
    for more in ({"costs": costs}, {"reward_kwargs": {"costs": costs}}):
        env = gymnasium.make(**make, **more).unwrapped
        env.reset(options={"indices": 0})
        assert [float(env.position_rewards(np.array([[choice]]))[0, 0]) for choice in (0, 1)] == [-4.0, 0.0]
        assert env.reward.minimum == -4.0
    with pytest.raises(ValueError, match="no choice 'dwn'"):
        gymnasium.make(**make, reward_kwargs={"costs": {"up": {"dwn": 1.0}}})


def test_rows_to_beat():
    builtin = lm_gym.load_dataset("builtin/headlines", fields=TextClassification.fields, train_texts=600)
    env = gymnasium.make_vec(ID, num_envs=64, dataset=builtin, split="validation", unit="sequence")
    rows = baselines(env)
    assert list(rows) == ["random", "majority", "tfidf"]
    assert all(rows[name]["accuracy"] < 0.7 for name in rows)
    assert rows["tfidf"]["accuracy"] > rows["majority"]["accuracy"] + 0.05
    assert rows["tfidf"]["calibration_error"] < 0.3
    assert "calibration_error" not in rows["random"]
    assert rows["tfidf"]["expected_cost"] == pytest.approx(1 - rows["tfidf"]["accuracy"])
