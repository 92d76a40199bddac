"""Every kind of field with every reader, from files and from Python."""

import json
import pickle
import sys
from dataclasses import replace

import datasets
import numpy as np
import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_gym.data import Corpus, DataError, Dataset, Field, LabelColumn, OtherFields, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, SECOND, TAGS, USUAL, WORDS, Kind, check_fields
from lm_gym.data.formats import FORMATS

RECORDS = [
    {
        "text": "Ivo saw Riga",
        "tags": ["B-PER", "O", "B-LOC"],
        "label": "travel",
        "labels": ["calm", "glad"],
        "second": "Did he see it ?",
        "candidates": ["so did I", "when ?"],
        "relevance": [1.0, 0.0],
    },
    {
        "text": "no trains today",
        "tags": ["O", "O", "O"],
        "label": "delay",
        "labels": [],
        "second": "[none]",
        "candidates": ["oh"],
        "relevance": [0.5],
    },
]
FIELDS = (WORDS, TAGS, LABEL, LABELS, SECOND, CANDIDATES, RELEVANCE)
SINGLE = [replace(field, beside=None, required=True) for field in FIELDS[1:]]


def cell(value):
    return value if isinstance(value, str) else json.dumps(value)


def jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def table(delimiter, quote):
    def write(path, records):
        rows = [[*records[0]], *([cell(value) for value in record.values()] for record in records)]
        if quote:
            rows = [['"' + value.replace('"', '""') + '"' for value in row] for row in rows]
        path.write_text("".join(delimiter.join(row) + "\n" for row in rows))

    return write


def conll(path, records):
    texts = ("".join(f"{w} NN {t}\n" for w, t in zip(r["text"].split(), r["tags"], strict=True)) for r in records)
    path.write_text("\n".join(texts))


def plain(path, records):
    path.write_text("".join(f"{record['text']}\n" for record in records))


def arrow(path, records):
    import pyarrow

    columns = pyarrow.Table.from_pylist(records)
    with pyarrow.ipc.new_stream(str(path), columns.schema) as writer:
        writer.write_table(columns)


WRITERS = {
    "text": plain,
    "conll": conll,
    "jsonl": jsonl,
    "csv": table(",", True),
    "tsv": table("\t", False),
    "parquet": lambda path, records: polars.DataFrame(records).write_parquet(path),
    "arrow": arrow,
}
LIMITED = {"text": (WORDS,), "conll": (WORDS, TAGS)}  # formats that contain nothing else
IN_PYTHON = {
    "records": lambda records: records,
    "generator": iter,
    "pandas": pandas.DataFrame,
    "polars": polars.DataFrame,
    "datasets": datasets.Dataset.from_list,
    "stream": lambda records: datasets.Dataset.from_list(records).to_iterable_dataset(),
}


def value_of(corpus, field, text):
    """Return the values of a field in a corpus, in the form of `RECORDS`."""
    if field.kind == "words":
        return " ".join(corpus.text(text))
    if field.kind == "tags":
        return corpus.tags_of(text)
    value = corpus.columns[field.name].of(text)
    if field.kind == "texts":
        return [" ".join(words) for words in value]
    if field.kind == "text":
        return " ".join(value[0])
    return value[0] if field.kind == "label" else value


def column(field):
    return "text" if field.kind == "words" else field.columns[0]


def held(corpus, fields):
    return [{column(field): value_of(corpus, field, text) for field in fields} for text in range(len(corpus))]


def chosen(fields, records=RECORDS):
    return [{column(field): record[column(field)] for field in fields} for record in records]


def test_every_kind_is_tried():
    assert {field.kind for field in FIELDS} == {field.kind for field in (*USUAL, SECOND)} == {*Kind.__args__}
    assert {*WRITERS} == {*FORMATS}


@pytest.mark.parametrize("name", WRITERS)
def test_files_hold_every_kind_of_field(tmp_path, name):
    path = tmp_path / f"train{FORMATS[name].suffixes[0]}"
    WRITERS[name](path, RECORDS)
    fields = LIMITED.get(name, FIELDS)
    assert held(load_dataset(path, fields=fields)["train"], fields) == chosen(fields)


@pytest.mark.parametrize("name", IN_PYTHON)
def test_python_data_hold_every_kind_of_field(name):
    dataset = load_dataset(IN_PYTHON[name](RECORDS), fields=FIELDS)
    assert held(dataset["train"], FIELDS) == chosen(FIELDS)
    assert (dataset.name, [*dataset.splits], dataset.notes) == ("Python data", ["train"], ())


@pytest.mark.parametrize("field", SINGLE, ids=lambda field: field.name)
@pytest.mark.parametrize("name", [*(name for name in WRITERS if name not in LIMITED), *IN_PYTHON])
def test_a_field_alone_is_read_and_the_others_are_named_in_one_note(tmp_path, name, field):
    if name in WRITERS:
        source = tmp_path / f"train{FORMATS[name].suffixes[0]}"
        WRITERS[name](source, RECORDS)
    else:
        source = IN_PYTHON[name](RECORDS)
    dataset = load_dataset(source, fields=(WORDS, field))
    assert held(dataset["train"], (WORDS, field)) == chosen((WORDS, field))
    others = [other for other in RECORDS[0] if other not in ("text", column(field))]
    assert dataset.notes == (f"columns {', '.join(others)} are not read",)


@pytest.mark.parametrize("name", LIMITED)
def test_formats_without_such_a_field_say_so(tmp_path, name):
    path = tmp_path / f"train{FORMATS[name].suffixes[0]}"
    WRITERS[name](path, RECORDS)
    for field in SINGLE:
        if field not in LIMITED[name]:
            with pytest.raises(DataError, match=r"train\.\w+.*(label|texts|numbers|tags|second|candidates|relevance)"):
                load_dataset(path, fields=(WORDS, field))
            assert len(load_dataset(path, fields=(WORDS, replace(field, required=False)))["train"]) == 2


def test_words_and_pairs_of_python():
    words = [["Ivo", "left"], ["so", "did", "I"]]
    assert load_dataset(words)["train"].text(1) == words[1]
    tagged = load_dataset([(words[0], ["B-PER", "O"]), (words[1], ["O"] * 3)], fields=(WORDS, TAGS))
    assert tagged["train"].tags_of(0) == ["B-PER", "O"]
    labelled = load_dataset([(words[0], "news"), (words[1], "chat")], fields=(WORDS, LABEL))["train"]
    assert [labelled.columns["label"].of(i) for i in range(2)] == [["news"], ["chat"]]
    with pytest.raises(OtherFields, match=r"row 0: 'tags' is 'news', one label") as caught:
        load_dataset([(words[0], "news")], fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}


@pytest.mark.parametrize("make", [IN_PYTHON[name] for name in ("records", "pandas", "polars", "datasets")])
def test_splits_of_python_data_share_words_and_labels(make):
    data = {"dev": make([{"text": "old news", "label": "b"}]), "train": make([{"text": c, "label": c} for c in "bac"])}
    dataset = load_dataset(data, fields=(WORDS, LABEL))
    assert [*dataset.splits] == ["train", "validation"]
    train, validation = dataset["train"], dataset["validation"]
    assert train.vocabulary is validation.vocabulary
    assert train.columns["label"].names == validation.columns["label"].names == ("a", "b", "c")
    assert train.columns["label"].values.tolist() == [1, 0, 2]
    assert validation.columns["label"].values.tolist() == [1]


def test_a_dataset_dict_keeps_its_class_names_and_says_which_splits_it_leaves_out():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["up", "down"])})
    parts = {
        name: datasets.Dataset.from_dict({"text": [f"{name} one", f"{name} two"], "label": [1, 0]}, features=features)
        for name in ("train", "test", "unsupervised")
    }
    dataset = load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL))
    assert dataset["test"].columns["label"].names == ("down", "up")
    assert dataset["test"].columns["label"].of(0) == ["down"]
    assert dataset.notes == ("split unsupervised is not read",)
    renamed = load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL), splits={"train": "unsupervised"})
    assert renamed["train"].text(0) == ["unsupervised", "one"]
    assert renamed.notes == ()
    parts["test"] = datasets.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=features)
    with pytest.raises(DataError, match="test, row 0: 'label' holds -1, for which the column has no name"):
        load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL))


def test_parquet_files_keep_their_class_names(tmp_path):
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]})
    datasets.disable_progress_bars()
    table.cast_column("label", datasets.ClassLabel(names=["up", "down"])).to_parquet(tmp_path / "train.parquet")
    assert load_dataset(tmp_path, fields=(WORDS, LABEL))["train"].columns["label"].names == ("down", "up")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, False], ("False", "True")),
        ([" up", "up ", "down"], ("down", "up")),
        ([np.int64(3), np.str_("2")], ("2", "3")),
        ([-1, 0], ("-1", "0")),
    ],
)
def test_names_of_labels(values, names):
    data = [{"text": f"text {i}", "label": value} for i, value in enumerate(values)]
    assert load_dataset(data, fields=(WORDS, LABEL))["train"].columns["label"].names == names


@pytest.mark.parametrize(
    ("value", "labels"),
    [(["b", "a"], ["b", "a"]), ("b, a", ["b", "a"]), ("b|a;", ["b", "a"]), ("['b']", ["b"]), ("", []), (7, ["7"])],
)
def test_lists_of_labels(value, labels):
    data = [{"text": "a text here", "labels": value}]
    assert load_dataset(data, fields=(WORDS, LABELS))["train"].columns["labels"].of(0) == labels


@pytest.mark.parametrize(
    ("value", "numbers"),
    [([1, 0.5], [1, 0.5]), ("1 0.5", [1, 0.5]), ("[1, 0.5]", [1, 0.5]), ("1,.5", [1, 0.5]), (2, [2]), ([], [])],
)
def test_lists_of_numbers(value, numbers):
    field = replace(RELEVANCE, beside=None)
    assert (
        load_dataset([{"text": "a", "scores": value}], fields=(WORDS, field))["train"].columns["relevance"].of(0)
        == numbers
    )


def test_texts_may_be_strings_or_lists_of_words():
    data = [
        {"words": "in strings", "items": ["one text", "two"]},
        {"words": ["in", "New York"], "items": [["one", "New York"]]},
        {"words": "['a', 'New York']", "items": "['[UNK] one']"},
        {"words": "[UNK] it", "items": []},
    ]
    corpus = load_dataset(data, fields=(WORDS, CANDIDATES))["train"]
    assert [corpus.text(i) for i in range(4)] == [
        ["in", "strings"],
        ["in", "New York"],
        ["a", "New York"],
        ["[UNK]", "it"],
    ]
    items = corpus.columns["candidates"]
    assert [items.of(i) for i in range(4)] == [
        [["one", "text"], ["two"]],
        [["one", "New York"]],
        [["[UNK]", "one"]],
        [],
    ]
    assert items.vocabulary is corpus.vocabulary
    assert (items.words.dtype, items.item_offsets.dtype, items.lengths.tolist()) == (np.int32, np.int64, [2, 1, 1, 0])


def test_columns_are_named_by_field(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("a fine film\t1\nfilms\t0\n")
    dataset = load_dataset(path, fields=(WORDS, LABEL), columns={"words": 0, "label": -1})
    assert held(dataset["train"], (WORDS, LABEL)) == [
        {"text": "a fine film", "label": "1"},
        {"text": "films", "label": "0"},
    ]
    data = [{"body": "a fine film", "kind": "news", "text": "?"}]
    named = load_dataset(data, fields=(WORDS, LABEL), text_column="body", columns={"label": "kind"})
    assert held(named["train"], (WORDS, LABEL)) == [{"text": "a fine film", "label": "news"}]
    assert named.notes == ("column text is not read",)
    tone = Field("tone", "label", ("tone",))
    both = load_dataset([{"text": "a", "tone": "low", "label": "b"}], fields=(WORDS, LABEL, tone))["train"]
    assert (both.columns["label"].of(0), both.columns["tone"].of(0)) == (["b"], ["low"])


def test_without_fields_words_and_tags_are_taken(tmp_path):
    labelled = [{"text": "so so", "label": "O O"}, {"text": "fine", "label": "O"}]
    dataset = load_dataset(labelled)
    assert (dataset.tag_names, dataset.notes) == ((), ("column label is not read",))
    assert load_dataset([{"tokens": ["Ivo", "left"], "label": ["B-PER", "O"]}]).tag_names == ("O", "B-PER", "I-PER")
    assert load_dataset([{"tokens": ["Ivo", "left"], "label": 3}]).notes == ("column label is not read",)


def test_notes_count_columns_without_names(tmp_path):
    (tmp_path / "train.conll").write_text("1 Ivo NNP B-PER\n2 left VBD O\n")
    (tmp_path / "dev.conll").write_text("1 Ada NNP B-PER\n")
    assert load_dataset(tmp_path, token_column=1).notes == ("columns 0, 2 of 4 are not read",)
    assert load_dataset(tmp_path, token_column=1, fields=(WORDS,)).notes == ("columns 0, 2, 3 of 4 are not read",)
    path = tmp_path / "mine.csv"
    path.write_text("Sentence #,Word,POS,Tag\n1,Ivo,NNP,B-PER\n1,left,VBD,O\n")
    assert load_dataset(path).notes == ("column POS is not read",)
    path.write_text(",text,text\n0,one text,two\n")
    assert load_dataset(path).notes == ("columns (column 0), text (column 2) are not read",)
    frame = pandas.DataFrame({"text": ["a", "b"]}, index=pandas.Index([7, 8], name="key"))
    assert load_dataset(frame).notes == ("column key is not read",)
    twice = pandas.DataFrame([["one", "two"]], columns=["text", "text"])
    assert load_dataset(twice)["train"].text(0) == ["one"]
    assert load_dataset(twice).notes == ("column text (column 1) is not read",)


KINDS = {
    "label": ({"text": "one two", "label": 1}, (WORDS, TAGS), {"label"}),
    "named label": ({"text": "one two", "label": "good news"}, (WORDS, TAGS), {"label"}),
    "label by another name": ({"text": "one two", "category": "good"}, (WORDS, TAGS), {"label"}),
    "labels": ({"text": "one two", "labels": ["x", "y", "z"]}, (WORDS, TAGS), {"labels"}),
    "tags": ({"text": "one two", "label": ["O", "B-X"]}, (WORDS, LABEL), {"tags"}),
    "tags in a string": ({"text": "one two", "label": "O B-X"}, (WORDS, LABEL), {"tags"}),
    "tags as labels": ({"text": "one two", "labels": ["O", "B-X"]}, (WORDS, LABELS), {"tags"}),
    "tags by their name": ({"tokens": ["one", "two"], "ner_tags": [0, 4]}, (WORDS, LABEL), {"tags"}),
    "labels for label": ({"text": "one two", "label": ["x", "y", "z"]}, (WORDS, LABEL), {"labels"}),
    "tags, not texts": ({"tokens": ["one", "two"], "tags": ["O", "O"]}, (WORDS, CANDIDATES), {"tags"}),
    "two": ({"text": "one two", "label": 1, "tags": ["O", "O"]}, (WORDS, CANDIDATES), {"label", "tags"}),
    "numbers": ({"text": "one two", "scores": [0.5, 1]}, (WORDS, LABEL), {"numbers"}),
}


@pytest.mark.parametrize("case", KINDS)
def test_other_kinds_of_field_are_told(case):
    record, fields, kinds = KINDS[case]
    with pytest.raises(OtherFields, match=r"^Python data, train, row 0: .* is needed") as caught:
        load_dataset([record], fields=fields)
    assert caught.value.kinds == kinds
    assert pickle.loads(pickle.dumps(caught.value)).kinds == kinds


def test_other_kinds_of_field_in_files_and_datasets(tmp_path):
    path = tmp_path / "train.conll"
    conll(path, RECORDS)
    with pytest.raises(OtherFields, match=r"train\.conll, line 1: .* a tag for each word: one label") as caught:
        load_dataset(path, fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    path = tmp_path / "train.csv"
    path.write_text("word,label\nso,O\nIvo,B-PER\n")
    with pytest.raises(OtherFields, match=r"train\.csv: each row is a word with a 'label': one label") as caught:
        load_dataset(path, fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    path.write_text("text,label\na fine film,1\n")
    with pytest.raises(OtherFields, match=r"train\.csv, line 2: 'label' is '1', one label") as caught:
        load_dataset(path, fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}
    with pytest.raises(
        OtherFields, match=r"'Python data' has words and label: field 'tags' needs a tag for each"
    ) as caught:
        load_dataset(load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL)), fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}
    with pytest.raises(OtherFields, match="'builtin/ner' has words and tags: field 'label' needs one label") as caught:
        load_dataset("builtin/ner", fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    labelled = load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL))
    assert load_dataset(labelled, fields=(WORDS, LABEL)) is labelled


BAD = [
    ([{"text": "a", "label": ""}], (WORDS, LABEL), "row 0: 'label' is '': a label is a non-empty string"),
    ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], (WORDS, LABEL), "row 1: 'label' is None"),
    ([{"text": "a", "label": 0.5}], (WORDS, LABEL), r"row 0: 'label' is 0\.5: a label"),
    ([{"text": "a", "label": "x"}, {"text": "b"}], (WORDS, LABEL), "row 1: no 'label', which earlier texts have"),
    ([{"text": "a"}, {"text": "b", "label": 1}], (WORDS, replace(LABEL, required=False)), "row 1: 'label' is not in"),
    ([["a"], (["b"], ["O"])], None, "row 1: 'tags' is not in earlier texts"),
    ([{"text": "a", "topic": "x", "y": 1}], (WORDS, LABELS), "no column of labels among text, topic, y"),
    ([{"text": "a", "labels": ["x", "x"]}], (WORDS, LABELS), "a label occurs twice"),
    ([{"text": "a", "labels": ["x", ["y"]]}], (WORDS, LABELS), "'labels' is .'y'.: a label is"),
    ([{"text": "a", "items": "b"}], (WORDS, CANDIDATES), "'items' is 'b': a list of texts is needed"),
    ([{"text": "a", "items": ["b", " "]}], (WORDS, CANDIDATES), "'items' holds ' ': each text needs words"),
    ([{"text": "a", "items": [["b", ""]]}], (WORDS, CANDIDATES), "'items' holds .*: each text needs words"),
    ([{"text": "a", "items": [3]}], (WORDS, CANDIDATES), "'items' is 3: a string or a list of words"),
    ([{"text": "a", "gains": ["b"]}], (WORDS, replace(RELEVANCE, beside=None)), "'gains' holds 'b': finite numbers"),
    ([{"text": "a", "gains": [np.nan]}], (WORDS, replace(RELEVANCE, beside=None)), "'gains' holds nan: finite"),
    (
        [{"text": "a", "items": ["b", "c"], "gains": [1]}],
        (WORDS, CANDIDATES, RELEVANCE),
        "row 0: 2 candidates but 1 numbers in 'gains': give each item one number",
    ),
    ([{"text": "a"}], (LABEL,), "fields label: the first one, and no other, must be of kind 'words'"),
    ([{"text": "a"}], (), r"fields \(none\): the first one"),
    ([{"text": "a"}], (WORDS, TAGS, replace(TAGS, name="more")), "two are of kind 'tags'"),
    ([{"text": "a"}], (WORDS, LABEL, replace(LABELS, name="label")), "two have the same name"),
    ([{"text": "a"}], (WORDS, RELEVANCE), "beside='candidates' is no field of kind 'texts'"),
    (["a text", "b"], None, "Python data, train, row 0: 'a text' is not a text: give a list of words"),
    (3, None, "int is not data: give a list of records"),
    ([], None, "Python data, train: no texts"),
    ({"text": ["a"]}, None, "Python data: no split of a usual name; it has text"),
    (polars.DataFrame({"text": ["a"]}).lazy(), None, "LazyFrame is not data"),
]


@pytest.mark.parametrize(("data", "fields", "message"), BAD)
def test_bad_data_are_refused(data, fields, message):
    with pytest.raises(DataError, match=message):
        load_dataset(data, fields=fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"lable": "x"}}, r"columns: no field 'lable' \(did you mean 'label'\?\): fields are words, label"),
        ({"columns": {"label": "y"}}, "no column 'y': there are text, label"),
        ({"columns": {"label": 2}}, "there is no column 2: there are 2"),
        (
            {"columns": {"words": "text"}, "text_column": "text"},
            "field 'words': columns gives 'text', and an option gives 'text'",
        ),
        ({"tag_column": 1}, "tag_column=1: no tags are read, fields are words, label"),
        ({"splits": {"train": "train"}}, "needs a dict of splits"),
        ({"splits": {"dev": "x"}}, "unknown split 'dev'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        load_dataset([{"text": "a", "label": "x"}], fields=(WORDS, LABEL), **options)


def test_labels_are_those_of_train(tmp_path):
    jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "w"}])
    jsonl(tmp_path / "test.jsonl", [{"text": "c", "label": "x"}, {"text": "d", "label": "y"}])
    with pytest.raises(
        DataError, match=r"test\.jsonl, line 2: label 'y' is not in the training split, whose labels are w, x"
    ):
        load_dataset(tmp_path, fields=(WORDS, LABEL))
    assert load_dataset(tmp_path / "test.jsonl", fields=(WORDS, LABEL))["test"].columns["label"].names == ("x", "y")


def test_a_field_belongs_to_all_splits_or_none():
    data = {"train": [{"text": "a", "label": 1}], "test": [{"text": "b"}]}
    with pytest.raises(DataError, match="train of Python data has label and test has none"):
        load_dataset(data, fields=(WORDS, replace(LABEL, required=False)))


def test_builtin_means_what_a_task_says():
    calls = []

    def builtin():
        calls.append(1)
        return {"train": RECORDS, "test": [RECORDS[0] | {"text": "Ivo saw Oslo"}]}

    dataset = load_dataset("builtin", fields=(WORDS, LABEL), builtin=builtin)
    assert held(dataset["train"], (WORDS, LABEL)) == chosen((WORDS, LABEL))
    assert load_dataset("builtin", fields=(WORDS, LABEL), builtin=builtin) is dataset
    assert (dataset.name, calls) == ("builtin", [1])
    assert load_dataset("builtin", builtin="builtin/ner", fields=(WORDS, TAGS)) is load_dataset("builtin/ner")
    with pytest.raises(DataError, match=r"no dataset 'builtin/nre' \(did you mean 'builtin/ner'\?\)"):
        load_dataset("builtin", builtin="builtin/nre")


def test_no_package_is_imported_for_python_data(monkeypatch):
    for name in ("pandas", "polars", "datasets", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)  # an import would raise
    assert len(load_dataset(RECORDS, fields=FIELDS)["train"]) == 2


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


def test_splits_with_other_columns_do_not_belong_together():
    one = load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL))["train"]
    other = one.with_label_names("label", ("1", "2"))
    with pytest.raises(DataError, match="split test has other columns or labels than train"):
        Dataset.from_splits("mine", {"train": one, "test": other})
    two_rows = LabelColumn("label", np.arange(3), np.zeros(2, np.int32), ("1",))
    with pytest.raises(DataError, match="1 texts but 2 rows in column 'label'"):
        Corpus(one.words, one.vocabulary, one.offsets, columns={"label": two_rows})


def test_check_fields_gives_a_tuple():
    assert check_fields([WORDS, LABEL]) == (WORDS, LABEL)
