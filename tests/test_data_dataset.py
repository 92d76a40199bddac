"""Datasets: splits, overlap, hold-out, fingerprint, folders, the hub, builtin data."""

import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_gym.builtin import BUILTIN
from lm_gym.data import Corpus, DataError, Dataset, load_dataset
from lm_gym.data.fields import TAGS, WORDS
from lm_gym.data.folder import split_of
from lm_gym.tasks import TASKS

SHARED = Path(os.environ.get("LM_GYM_SHARED", Path(__file__).parents[2] / "shared"))
CONLL = SHARED / "data" / "conll2003"

plain_texts = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=30)


def numbered(first, count):
    return [[f"word{i}", "and", "more"] for i in range(first, first + count)]


def texts(corpus):
    return [corpus.text(i) for i in range(len(corpus))]


def test_from_sentences_shares_words_and_tags_between_splits():
    dataset = Dataset.from_sentences(
        "mine",
        train=[(["Ann", "left", "Oslo"], ["B-PER", "O", "B-LOC"]), (["no"], ["O"])],
        test=[(["Oslo", "Bay"], ["B-LOC", "I-LOC"])],
    )
    assert [*dataset.splits] == ["train", "test"]
    assert dataset["train"].vocabulary is dataset["test"].vocabulary
    assert dataset.vocabulary == ("Ann", "left", "Oslo", "no", "Bay")
    assert dataset.tag_names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert dataset["test"].tags_of(-1) == ["B-LOC", "I-LOC"]
    assert dataset["train"].lengths.tolist() == [3, 1]
    assert (dataset.overlap, dataset.notes) == ({("train", "test"): 0}, ())


@settings(deadline=None)
@given(plain_texts, st.data())
def test_take_gives_the_texts_in_the_order_asked_for(sentences, data):
    corpus = Corpus.from_sentences(sentences)
    indices = data.draw(st.lists(st.integers(0, len(sentences) - 1), min_size=1))
    assert texts(corpus.take(indices)) == [sentences[i] for i in indices]


@settings(deadline=None)
@given(plain_texts, plain_texts)
def test_overlap_counts_texts_of_the_smaller_split_that_stand_in_the_other(train, test):
    dataset = Dataset.from_sentences("mine", train, test=test, max_overlap=1)
    small, large = sorted((test, train), key=len) if len(test) != len(train) else (train, test)
    assert dataset.overlap["train", "test"] == sum(text in large for text in small)


def test_overlap_is_noted_and_refused_above_a_tenth():
    train = numbered(0, 40)
    shared = Dataset.from_sentences("mine", train, test=[*numbered(100, 9), train[3]])
    assert shared.overlap == {("train", "test"): 1}
    assert shared.notes == ("1 of the 10 texts of test also occur in train",)
    with pytest.raises(DataError, match=r"2 of the 10 texts of test also occur in train.*max_overlap=0\.2"):
        Dataset.from_sentences("mine", train, test=[*numbered(100, 8), *train[:2]])
    allowed = Dataset.from_sentences("mine", train, test=[*numbered(100, 8), *train[:2]], max_overlap=0.2)
    assert allowed.overlap == {("train", "test"): 2}


def test_overlap_in_blocks_equals_overlap_at_once(monkeypatch):
    train, test = numbered(0, 30), numbered(28, 40)
    monkeypatch.setattr("lm_gym.data.overlap._BLOCK", 7)
    assert Dataset.from_sentences("mine", train, test=test).overlap == {("train", "test"): 2}


@settings(deadline=None)
@given(plain_texts.filter(lambda found: len({*map(tuple, found)}) > 1), st.integers(0, 9), st.floats(0.05, 0.9))
def test_holdout_moves_whole_groups_of_equal_texts(train, seed, fraction):
    dataset = Dataset.from_sentences("mine", train).with_holdout(fraction, seed)
    held, left = texts(dataset["validation"]), texts(dataset["train"])
    assert sorted(held + left) == sorted(train)
    assert dataset.overlap == {("train", "validation"): 0}
    copies = max(train.count(text) for text in train)
    assert 1 <= len(held) <= max(copies, round(fraction * len(train)))


def test_holdout_is_deterministic_keyed_by_seed_and_noted():
    dataset = Dataset.from_sentences("mine", numbered(0, 100), test=[*numbered(200, 19), *numbered(0, 1)])
    first, again, other = (dataset.with_holdout(0.2, seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first["validation"]) == 20
    assert first.notes[0] == "validation: 20 texts held out of train (fraction 0.2, seed 0)"
    assert sum(first.overlap.values()) == 1
    assert len(first.notes) == 2
    assert first.with_holdout() is first
    with pytest.raises(DataError, match="fraction=1 must lie between 0 and 1"):
        dataset.with_holdout(1)
    with pytest.raises(DataError, match="one distinct text"):
        Dataset.from_sentences("mine", numbered(0, 1) * 2).with_holdout()


def test_fingerprint_follows_content():
    def made(train, test=None):
        return Dataset.from_sentences("any", train, test=test).fingerprint

    pairs = [(["a", "b"], ["B-X", "O"]), (["c"], ["O"])]
    assert made(pairs) == Dataset.from_sentences("other name", pairs).fingerprint
    different = [
        made(pairs),
        made([*reversed(pairs)]),
        made([(["a", "b"], ["B-X", "B-X"]), (["c"], ["O"])]),
        made([(["a", "b"], ["B-Y", "O"]), (["c"], ["O"])]),
        made([(["a"], ["B-X"]), (["b", "c"], ["O", "O"])]),
        made([words for words, _ in pairs]),
        made(pairs[:1], pairs[1:]),
    ]
    assert len({*different}) == len(different)
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in different)


def test_datasets_survive_pickling():
    dataset = Dataset.from_sentences("mine", [(["a", "b"], ["B-X", "O"])])
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.fingerprint, copy["train"].tags_of(0)) == (dataset.fingerprint, ["B-X", "O"])


def test_tag_names_of_another_model():
    dataset = Dataset.from_sentences("mine", [(["a", "b"], ["B-X", "O"])])
    names = ("O", "B-A", "I-A", "B-X", "I-X")
    renamed = dataset.with_tag_names(names)
    assert (renamed.tag_names, renamed["train"].tags_of(0)) == (names, ["B-X", "O"])
    assert renamed.fingerprint != dataset.fingerprint
    assert dataset.with_tag_names(dataset.tag_names) is dataset
    with pytest.raises(DataError, match="tags B-X are not among O, B-A"):
        dataset.with_tag_names(("O", "B-A"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset.from_sentences("m", []), "m, train: no texts"),
        (lambda: Dataset.from_sentences("m", [["a"], []]), "m, train, text 1: a text without words"),
        (lambda: Dataset.from_sentences("m", ["a b"]), "text 0: 'a b' is a string: give a list of words"),
        (lambda: Dataset.from_sentences("m", [["a"], ["b", 3]]), "m, train, text 1: 3 is not a string"),
        (lambda: Dataset.from_sentences("m", [["a"], ["b", ""]]), "m, train, text 1: '' is an empty word"),
        (lambda: Dataset.from_sentences("m", [(["a"], ["O"]), ["b"]]), "text 1: some texts have tags"),
        (lambda: Dataset.from_sentences("m", [(["a"], ["O"])], [["b"]]), "train of m has tags and validation has none"),
        (
            lambda: Dataset.from_sentences("m", [(["a"], ["B-X"])], test=[(["b"], ["O"]), (["c"], ["I-Y"])]),
            r"m, test, text 1: tag 'I-Y' is not in the training split, whose types are X",
        ),
        (lambda: Dataset.from_splits("m", {}), "has no split"),
        (lambda: Dataset.from_splits("m", {"dev": Corpus.from_sentences([["a"]])}), "unknown split 'dev'"),
        (
            lambda: Dataset.from_splits(
                "m", {"train": Corpus.from_sentences([["a"]]), "test": Corpus.from_sentences([["b"]])}
            ),
            "split test has its own vocabulary or tags",
        ),
        (lambda: Corpus.from_sentences([["a"]]).tags_of(0), "it has no tags"),
        (lambda: Corpus.from_sentences([["a"]]).with_tag_names(("O",)), "no tags to rename"),
        (lambda: Corpus(np.zeros(2, np.int32), ("a",), np.array([0, 1])), "offsets must run from 0 to the 2 words"),
        (lambda: load_dataset("builtin/nre"), r"no dataset 'builtin/nre' \(did you mean 'builtin/ner'\?\)"),
        (lambda: load_dataset("bultin/ner"), r"did you mean 'builtin/ner'"),
        (lambda: load_dataset("builtin"), "the builtin ones are builtin/"),
        (lambda: load_dataset("no/such/file"), "it is not a file or folder"),
        (lambda: load_dataset("builtin/masked_lm", fields=(WORDS, TAGS)), "'builtin/masked_lm' is plain text"),
        (lambda: load_dataset(Dataset.from_sentences("m", [["a"]]), fields=(WORDS, TAGS)), "'m' is plain text"),
        (lambda: load_dataset("builtin/ner")["tset"], r"no split 'tset' \(did you mean 'test'\?\): it has train"),
        (lambda: Dataset.from_sentences("m", [["a"]])["validation"], r"with_holdout\(\) creates one"),
        (lambda: load_dataset("x", splits={"dev": "x"}), "unknown split 'dev'"),
    ],
)
def test_bad_datasets_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_a_text_out_of_range_is_an_index_error():
    with pytest.raises(IndexError, match="text 1 of 1"):
        Corpus.from_sentences([["a"]]).text(1)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_builtin_data_load_by_name_and_by_task(name):
    fields = {task.builtin: task.fields for task in TASKS.values()}.get(name)  # of the task to which it belongs
    dataset = load_dataset(name, fields=fields)
    assert [*dataset.splits] == ["train", "validation", "test"]
    assert load_dataset("builtin", builtin=name, fields=fields) is dataset
    assert load_dataset(dataset) is dataset


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.txt", "train"),
        ("eng.train", "train"),
        ("eng.testa", "validation"),
        ("testb.conll", "test"),
        ("wiki.valid.tokens", "validation"),
        ("Dev.TSV", "validation"),
        ("my-validation_set.jsonl", "validation"),
        ("contest.txt", None),
        ("train-test.txt", None),
    ],
)
def test_file_names_say_the_split(name, split):
    assert split_of(Path(name)) == split


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path):
    for name, content in (
        ("eng.train", "a B-X\nb O\n"),
        ("dev.tsv", "word\ttag\nc\tO\n\nd\tB-X\n"),
        ("test.jsonl", '{"tokens": ["e"], "tags": ["O"]}\n'),
        ("README.md", "hello"),
        (".train.conll.swp", "rubbish"),
    ):
        (tmp_path / name).write_text(content)
    dataset = load_dataset(tmp_path)
    assert dataset.name == tmp_path.name
    assert {split: texts(corpus) for split, corpus in dataset.splits.items()} == {
        "train": [["a", "b"]],
        "validation": [["c"], ["d"]],
        "test": [["e"]],
    }


def test_folders_that_leave_open_which_file_is_which(tmp_path):
    with pytest.raises(DataError, match=r"no file is named for a split.*files: \(none\)"):
        load_dataset(tmp_path)
    (tmp_path / "all.csv").write_text("a b\n")
    with pytest.raises(DataError, match=r"give the file .*all\.csv itself to train on it"):
        load_dataset(tmp_path)
    (tmp_path / "all.csv").unlink()
    (tmp_path / "big.train.txt").write_text("a b\n")
    (tmp_path / "small.train.txt").write_text("c\n")
    with pytest.raises(DataError, match=r"big.train.txt, small.train.txt might each be train: set splits="):
        load_dataset(tmp_path)
    chosen = load_dataset(tmp_path, splits={"train": "small.train.txt", "test": "big.train.txt"})
    assert texts(chosen["train"]) == [["c"]]
    with pytest.raises(DataError, match=r"no file 'tiny.txt' for train; files: big.train.txt"):
        load_dataset(tmp_path, splits={"train": "tiny.txt"})
    (tmp_path / "train.txt").write_text("d\n")
    assert texts(load_dataset(tmp_path)["train"]) == [["d"]]


def test_masked_lm_reads_words_of_tagged_files_whatever_their_tags(tmp_path):
    (tmp_path / "train.conll").write_text("a NN\nb VB\n")
    dataset = load_dataset(tmp_path, fields=(WORDS,))
    assert (texts(dataset["train"]), dataset.tag_names) == ([["a", "b"]], ())


def test_a_single_file_is_the_split_its_name_says(tmp_path):
    (tmp_path / "test.txt").write_text("a b\n")
    (tmp_path / "mine.txt").write_text("a b\n")
    assert [*load_dataset(tmp_path / "test.txt").splits] == ["test"]
    assert [*load_dataset(str(tmp_path / "mine.txt")).splits] == ["train"]


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = tmp_path / "data"
    folder.mkdir()

    def write(split, **table):
        dataset = datasets.Dataset.from_dict(table)
        if "ner_tags" in table and isinstance(table["ner_tags"][0][0], int):
            labels = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
            dataset = dataset.cast_column("ner_tags", datasets.List(labels))
        dataset.to_parquet(folder / f"{split}.parquet")
        return f"hub:{folder}"

    return write


def test_hub_reads_tokens_with_class_labels(parquet):
    parquet("train", id=["0", "1"], tokens=[["Ann", "Lee", "left"], ["no"]], ner_tags=[[1, 2, 0], [0]])
    source = parquet("validation", id=["0"], tokens=[["Bo"]], ner_tags=[[1]])
    dataset = load_dataset(source, fields=(WORDS, TAGS))
    assert (dataset.name, [*dataset.splits]) == (source, ["train", "validation"])
    assert dataset["train"].tags_of(0) == ["B-PER", "I-PER", "O"]
    assert texts(dataset["validation"]) == [["Bo"]]


def test_hub_reads_texts_and_named_tags(parquet):
    source = parquet("train", text=["a b", "c"], tokens=[["d"], ["e"]], tags=[["O"], ["B-X"]])
    assert texts(load_dataset(source, text_column="text")["train"]) == [["a", "b"], ["c"]]
    assert load_dataset(source)["train"].tags_of(1) == ["B-X"]
    renamed = load_dataset(source, splits={"test": "train"})
    assert [*renamed.splits] == ["test"]


def test_hub_refuses_labels_without_a_name(parquet):
    source = parquet("train", tokens=[["a"], ["b"]], ner_tags=[[0], [-1]])
    with pytest.raises(DataError, match="train, row 1: 'ner_tags' holds -1"):
        load_dataset(source)


def test_hub_refuses_what_it_cannot_use(parquet):
    source = parquet("train", text=["a b", " "])
    with pytest.raises(DataError, match="no split 'dev'; it has train"):
        load_dataset(source, splits={"validation": "dev"})
    with pytest.raises(DataError, match="no column 'body': there are text"):
        load_dataset(source, text_column="body")
    with pytest.raises(DataError, match="hub:/no/such/folder: "):
        load_dataset("hub:/no/such/folder")
    for nothing in ("hub:", "hub:/"):
        with pytest.raises(DataError, match="names nothing on the hub: give hub:<id>"):
            load_dataset(nothing)


def test_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'lm-gym\[hub\]'"):
        load_dataset("hub:any")


@pytest.mark.shared
@pytest.mark.skipif(not CONLL.is_dir(), reason="no CoNLL-2003 next to the checkout")
def test_conll_2003_as_published():
    dataset = load_dataset(CONLL, fields=(WORDS, TAGS))
    train, validation = dataset["train"], dataset["validation"]
    assert (len(train), len(validation)) == (14041, 3250)
    assert (len(train.words), len(validation.words)) == (203621, 51362)
    begins = [i for i, name in enumerate(dataset.tag_names) if name.startswith("B-")]
    assert np.isin(train.tags, begins).sum() == 23499
    assert np.isin(validation.tags, begins).sum() == 5942
    assert train.text(0)[:3] == ["EU", "rejects", "German"]
    assert train.tags_of(0)[:3] == ["B-ORG", "O", "B-MISC"]
    assert dataset.overlap == {("train", "validation"): 193}


@pytest.mark.shared
@pytest.mark.skipif(not CONLL.is_dir(), reason="no WikiText-2, SST-2 and AG News next to the checkout")
def test_plain_texts_as_published():
    wikitext = load_dataset(SHARED / "data" / "wikitext2", fields=(WORDS,))["validation"]
    assert (len(wikitext), wikitext.text(0)) == (2461, ["=", "Homarus", "gammarus", "="])
    sst2 = load_dataset(SHARED / "data" / "sst2", text_column=0)
    assert (len(sst2["train"]), len(sst2["validation"])) == (6920, 872)
    assert len(load_dataset(SHARED / "data" / "ag_news" / "all.csv", text_column=2)["train"]) == 7600
