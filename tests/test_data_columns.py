"""Columns stay beside their texts: parts of a corpus, hold-out, overlap, fingerprints, pickles."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_gym.data import DataError, Dataset, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, WORDS
from tests.fields import FIELDS, RECORDS, chosen, held

words = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
records = st.fixed_dictionaries(
    {
        "words": words,
        "label": st.sampled_from("xy"),
        "labels": st.lists(st.sampled_from("uvw"), unique=True),
        "candidates": st.lists(words, max_size=3),
        "relevance": st.lists(st.integers(-3, 3), max_size=3),
    }
)
RAGGED = (WORDS, LABEL, LABELS, CANDIDATES, replace(RELEVANCE, beside=None))


def contents(corpus):
    return [(corpus.text(i), *(corpus.columns[field.name].of(i) for field in RAGGED[1:])) for i in range(len(corpus))]


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=8), st.data())
def test_take_gives_the_columns_of_the_texts_asked_for(data, draw):
    corpus = load_dataset(data, fields=RAGGED)["train"]
    whole = [(r["words"], [r["label"]], r["labels"], r["candidates"], r["relevance"]) for r in data]
    assert contents(corpus) == whole
    indices = draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=12))
    taken = corpus.take(indices)
    assert contents(taken) == [whole[i] for i in indices]
    assert taken.columns["labels"].lengths.tolist() == [len(whole[i][2]) for i in indices]


def distinct(count):
    return [
        {"words": [f"word{i}", "more"], "label": "ab"[i % 2], "labels": [], "candidates": [[f"w{i}"]], "relevance": [i]}
        for i in range(count)
    ]


def test_holdout_and_few_texts_keep_columns_beside_their_texts():
    dataset = load_dataset(distinct(40), fields=RAGGED).with_holdout(0.25)
    for corpus in (*dataset.splits.values(), dataset.with_few_texts(7)["train"]):
        for words, label, _, candidates, relevance in contents(corpus):
            number = int(words[0].removeprefix("word"))
            assert (label, candidates, relevance) == ([("a", "b")[number % 2]], [[f"w{number}"]], [number])
    assert (len(dataset["train"]), len(dataset["validation"]), dataset.overlap) == (
        30,
        10,
        {("train", "validation"): 0},
    )


def test_few_texts_of_each_label():
    few = load_dataset(distinct(40), fields=RAGGED, train_texts_per_type=3)["train"].columns["label"]
    assert [few.of(i) for i in range(len(few))].count(["a"]) == 3
    assert len(few) == 6


def test_overlap_is_of_words_and_lists_of_texts():
    train = [{"words": ["one"], "candidates": [["a"], ["b"]], "label": "x"} for _ in range(3)]

    def overlap(test):
        data = {"train": train, "test": [test]}
        return load_dataset(data, fields=(WORDS, CANDIDATES, LABEL), max_overlap=1).overlap["train", "test"]

    assert overlap(train[0] | {"label": "x"}) == 1
    for other in ([["b"], ["a"]], [["a"]], [["a", "b"]], [], [["a"], ["b"], ["a"]]):
        assert overlap(train[0] | {"candidates": other}) == 0
    assert overlap(train[0] | {"words": ["a"]}) == 0


def test_fingerprint_follows_columns():
    def made(fields=RAGGED, **changes):
        return load_dataset([*distinct(4), distinct(5)[-1] | changes], fields=fields).fingerprint

    different = [
        made(),
        made(label="b"),
        made(labels=["a"]),
        made(labels=["b"]),
        made(candidates=[["w4"], ["w4"]]),
        made(candidates=[["w4", "w4"]]),
        made(relevance=[5]),
        made(RAGGED[:-1]),
        made((WORDS,)),
        made((WORDS, replace(LABEL, name="other"))),
        made((WORDS, LABEL)),
    ]
    assert len({*different}) == len(different)
    assert made() == made()
    plain_texts = [record["words"] for record in distinct(5)]
    assert made((WORDS,)) == Dataset.from_sentences("any", plain_texts).fingerprint


def test_fingerprints_of_words_and_tags_are_those_of_the_version_before():
    assert load_dataset("builtin/ner").fingerprint == "1366bb54d45b5df6"
    assert load_dataset("builtin/masked_lm").fingerprint == "aa7a3b886dbdb8e2"


def test_columns_are_read_only_and_survive_pickling():
    dataset = load_dataset(RECORDS, fields=FIELDS)
    for column in dataset["train"].columns.values():
        for values in column.arrays():
            with pytest.raises(ValueError, match="read-only"):
                values[:1] = 0
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.fingerprint, held(copy["train"], FIELDS)) == (dataset.fingerprint, chosen(FIELDS))
    with pytest.raises(IndexError, match="text 2 of 2"):
        dataset["train"].columns["label"].of(2)


def test_label_names_of_another_model():
    dataset = load_dataset(RECORDS, fields=FIELDS)
    renamed = dataset.with_label_names("label", ("travel", "other", "delay"))
    assert renamed["train"].columns["label"].values.tolist() == [0, 2]
    assert held(renamed["train"], FIELDS) == chosen(FIELDS)
    assert renamed.fingerprint != dataset.fingerprint
    with pytest.raises(DataError, match="labels delay are not among travel, other"):
        dataset.with_label_names("label", ("travel", "other"))
    with pytest.raises(DataError, match="no column of labels called 'relevance'"):
        dataset.with_label_names("relevance", ())
