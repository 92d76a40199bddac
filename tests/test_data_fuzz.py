"""Readers return texts or raise a DataError within seconds, for any bytes.

`make fuzz` tries a hundred times as many.
"""

import json
import os
import time

import datasets
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, TAGS, WORDS
from lm_gym.data.formats import FORMATS

FIELDS = (None, (WORDS,), (WORDS, TAGS), (WORDS, LABEL), (WORDS, LABELS), (WORDS, CANDIDATES, RELEVANCE))
PIECES = [
    *"\n\r\t ,;|\"'#[]{}:\\",
    "\r\n", "\n\n", "tokens", "text", "tags", "label", "word", "sentence", "O", "B-PER", "I-PER", "E-X", "M-X", "PER",
    "B", "0", "1", "-1", "null", "NaN", "1e999", "['a' 'b']", "['a', 'b']", "[1 0]", '["a", "b"]', "-DOCSTART-", "# x",
    "\ufeff", "\0", "\ud83c", "\u2028", "\x85", "\u0301", "sep=;", "...", "array(['a'])", '"text"', '"tokens"',
    '"tags"',
]  # fmt: skip
scraps = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(PIECES) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["start", "end", "label"]), inner),
    max_leaves=8,
)
columns = ["text", "tokens", "tags", "ner_tags", "label", "labels", "candidates", "relevance", "data", "annotations"]
records = st.dictionaries(st.sampled_from(columns), values, max_size=4)


def attempt(path, fields, **options):
    """Read a file within seconds; texts are well-formed, and the only error is a DataError."""
    began = time.process_time()
    try:
        dataset = load_dataset(path, fields=fields, **options)
    except DataError as error:
        message = str(error)
        dataset = None
    else:
        message = "read"
    assert message.isprintable()
    assert time.process_time() - began < 5
    for corpus in dataset.splits.values() if dataset else ():
        for i in range(len(corpus)):
            assert corpus.text(i)
            " ".join(corpus.text(i)).encode()
            assert corpus.tags is None or len(corpus.tags_of(i)) == len(corpus.text(i))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


FUZZ = settings(
    max_examples=int(os.environ.get("LM_GYM_FUZZ", "20")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)


@pytest.mark.parametrize("suffix", [*(format_.suffixes[0] for format_ in FORMATS.values()), ".txt"])
@FUZZ
@given(
    content=st.binary(max_size=60) | scraps.map(lambda text: text.encode("utf-8", "surrogatepass")),
    fields=st.sampled_from(FIELDS),
)
def test_any_bytes(folder, suffix, content, fields):
    path = folder / f"train{suffix}"
    path.write_bytes(content)
    attempt(path, fields)


@FUZZ
@given(rows=st.lists(records, min_size=1, max_size=4), fields=st.sampled_from(FIELDS), array=st.booleans())
@example([{"annotations": [None], "text": None, "data": {}}], None, False)
@example([{"annotations": [{"result": [{"value": None}]}], "data": {}}], None, False)
def test_any_records(folder, rows, fields, array):
    path = folder / "train.jsonl"
    path.write_text(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows))
    attempt(path, fields)


@FUZZ
@given(
    rows=st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=2, max_size=3), max_size=6),
    options=st.fixed_dictionaries(
        {},
        optional={
            "token_column": st.integers(-3, 3) | st.sampled_from(["tokens", "word"]),
            "tag_column": st.integers(-3, 3),
            "scheme": st.sampled_from(["auto", "iob1", "iob2", "iobes", "io", "conlleval"]),
            "delimiter": st.sampled_from([",", ";", "\t", "||"]),
            "header": st.booleans(),
            "names": st.just({"tags": ["O", "B-PER"]}),
        },
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".conll"]),
)  # fmt: skip
def test_any_table_read_in_any_way(folder, rows, options, suffix):
    path = folder / f"train{suffix}"
    text = "\n".join({".csv": ",", ".tsv": "\t", ".conll": " "}[suffix].join(cells) for cells in rows)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    attempt(path, None, **options)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@FUZZ
@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_damaged_tables(folder, suffix, place, value):
    good = folder / "good.parquet"
    if not good.exists():
        datasets.disable_progress_bars()
        datasets.Dataset.from_dict({"tokens": [["Iva", "left"]], "tags": [["B-PER", "O"]]}).to_parquet(good)
        table = pyarrow.parquet.read_table(good)
        with pyarrow.ipc.new_stream(str(folder / "good.arrow"), table.schema) as writer:
            writer.write_table(table)
    content = bytearray((folder / f"good{suffix}").read_bytes())
    content[place % len(content)] = value
    path = folder / f"train{suffix}"
    path.write_bytes(content)
    attempt(path, None)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 500_000,
        '{"a":' * 200_000,
        "'" * 500_000,
        '"' * 500_001,
        "#" * 500_000,
        "a," * 300_000,
        "['a' " * 100_000,
        "[1 " * 200_000,
        "[a, " * 100_000,
    ],
)
@pytest.mark.parametrize("suffix", [".conll", ".jsonl", ".csv", ".tsv", ".txt"])
def test_endless_beginnings(folder, suffix, content):
    path = folder / f"train{suffix}"
    for before in ("", "tokens\n", "tokens,tags\nx,O\n"):
        path.write_text(before + content)
        attempt(path, None)
