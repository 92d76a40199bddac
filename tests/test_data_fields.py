"""Every kind of field with every reader, from files and from Python."""

import json
import sys
from dataclasses import replace

import datasets
import pandas
import polars
import pytest

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import LABEL, SECOND, TAGS, USUAL, WORDS, Kind, check_fields
from lm_gym.data.formats import FORMATS
from tests.fields import FIELDS, RECORDS, chosen, column, conll, held, jsonl

SINGLE = [replace(field, beside=None, required=True) for field in FIELDS[1:]]


def cell(value):
    return value if isinstance(value, str) else json.dumps(value)


def table(delimiter, quote):
    def write(path, records):
        rows = [[*records[0]], *([cell(value) for value in record.values()] for record in records)]
        if quote:
            rows = [['"' + value.replace('"', '""') + '"' for value in row] for row in rows]
        path.write_text("".join(delimiter.join(row) + "\n" for row in rows))

    return write


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
NEEDED = {  # what the errors of these formats ask for, by field
    "tags": "fits no scheme:",
    "label": ": one label for each text",
    "labels": ": a list of labels for each text",
    "second": ": a second text for each text",
    "candidates": ": a list of texts for each text",
    "relevance": ": a list of numbers for each text",
}
IN_PYTHON = {
    "records": lambda records: records,
    "generator": iter,
    "pandas": pandas.DataFrame,
    "polars": polars.DataFrame,
    "datasets": datasets.Dataset.from_list,
    "stream": lambda records: datasets.Dataset.from_list(records).to_iterable_dataset(),
}


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
            said = rf"(no columns and no {field.name}: give|{NEEDED[field.name]}) "
            with pytest.raises(DataError, match=rf"train\.\w+.*{said}"):
                load_dataset(path, fields=(WORDS, field))
            assert len(load_dataset(path, fields=(WORDS, replace(field, required=False)))["train"]) == 2


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


def test_check_fields_gives_a_tuple():
    assert check_fields([WORDS, LABEL]) == (WORDS, LABEL)
