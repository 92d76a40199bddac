"""Few labels: a part of the training texts, whole texts chosen by a hash of their words."""

import numpy as np
import pytest

from lm_gym.data import Corpus, DataError, Dataset, load_dataset
from lm_gym.data.few import few_texts
from tests.runs import report, train, write_corpus

TYPES = ("LOC", "ORG", "PER")


def corpus(count=60):
    """Return texts with a person; every second one has a place, every tenth a firm. Each text occurs twice."""
    texts = []
    for i in range(count):
        words, tags = [f"name{i}", "came"], ["B-PER", "O"]
        if i % 2 == 0:
            words, tags = [*words, f"town{i}", "Bay"], [*tags, "B-LOC", "I-LOC"]
        if i % 10 == 0:
            words, tags = [*words, f"firm{i}"], [*tags, "B-ORG"]
        texts += [(words, tags)] * 2
    return Corpus.from_sentences(texts)


def holding(texts, kind):
    return sum(f"B-{kind}" in texts.tags_of(i) for i in range(len(texts)))


def test_more_texts_are_the_same_ones_and_more():
    data = corpus()
    few, more = (set(few_texts(data, count, None, 0).tolist()) for count in (7, 20))
    assert (len(few), len(more)) == (7, 20)
    assert few < more
    assert few != set(few_texts(data, 7, None, 1).tolist())
    indices = few_texts(data, 20, None, 0)
    assert (np.diff(indices) > 0).all()


def test_copies_of_a_text_count_once():
    data = corpus()
    taken = data.take(few_texts(data, 60, None, 0))
    assert len({tuple(taken.text(i)) for i in range(len(taken))}) == 60
    with pytest.raises(DataError, match="train has 60 distinct texts, give 1 to 60"):
        few_texts(data, 61, None, 0)


def test_each_type_has_so_many_texts_or_all_there_are():
    data = corpus()
    taken = data.take(few_texts(data, None, 8, 3))
    assert holding(taken, "ORG") == 6  # there are no more texts
    assert all(holding(taken, kind) >= 8 for kind in ("LOC", "PER"))
    assert len(taken) <= 8 * len(TYPES)
    alone = few_texts(data, None, 1, 3)
    assert len(alone) <= len(TYPES)
    assert all(holding(data.take(alone), kind) for kind in TYPES)


def test_other_splits_stay_whole_and_the_cut_is_noted():
    whole = load_dataset("builtin/ner")
    few = load_dataset(whole, train_texts=5, train_seed=2)
    assert [len(split) for split in few.splits.values()] == [5, len(whole["validation"]), len(whole["test"])]
    assert few.tag_names == whole.tag_names
    assert few.fingerprint != whole.fingerprint
    assert few.notes[-1] == f"train: 5 of {len(whole['train'])} texts (5, seed 2)"
    assert "(2 per type, seed 0)" in load_dataset("builtin/ner", train_texts_per_type=2).notes[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_texts": 0}, "train_texts must be at least 1, got 0"),
        ({"train_texts": 5, "train_texts_per_type": 1}, "give one of them"),
        ({"train_texts_per_type": 0}, "train_texts_per_type must be at least 1, got 0"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("builtin/ner", **options)


def test_what_has_no_types_or_no_train_is_refused():
    with pytest.raises(DataError, match="plain text has no types, give train_texts"):
        load_dataset("builtin/masked_lm", train_texts_per_type=3)
    with pytest.raises(DataError, match="no training text has an entity"):
        few_texts(Corpus.from_sentences([(["a", "b"], ["O", "O"])]), None, 2, 0)
    with pytest.raises(DataError, match="no split 'train'"):
        load_dataset(Dataset.from_sentences("mine", None, [["a"]]), train_texts=1)  # type: ignore[arg-type]


def test_a_run_trains_on_few_texts(tmp_path):
    run = train(write_corpus(tmp_path / "data"), tmp_path / "run", "--data.train_texts=4", "--budget.passes=2")
    assert report(run)["forward_passes"] == 8
    assert "train: 4 of 12 texts (4, seed 0)" in (run / "report.md").read_text(encoding="utf-8")
