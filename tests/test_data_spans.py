"""Spans of characters become tags for words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import TAGS, WORDS
from lm_gym.data.spans import SpanCounts, read_tagged_text

TEXT = "Iva Holm left (Riga), yesterday."
WORDS_OF_TEXT = ["Iva", "Holm", "left", "(", "Riga", ")", ",", "yesterday", "."]
TAGS_OF_TEXT = ["B-PER", "I-PER", "O", "O", "B-LOC", "O", "O", "O", "O"]
EXPORTS = {
    "doccano.jsonl": [{"id": 1, "text": TEXT, "label": [[0, 8, "PER"], [15, 19, "LOC"]], "Comments": []}],
    "doccano_relations.jsonl": [
        {
            "text": TEXT,
            "entities": [
                {"id": 7, "label": "PER", "start_offset": 0, "end_offset": 8},
                {"id": 8, "label": "LOC", "start_offset": 15, "end_offset": 19},
            ],
            "relations": [],
        }
    ],
    "spacy.jsonl": [
        {"text": TEXT, "spans": [{"start": 15, "end": 19, "label": "LOC"}, {"start": 0, "end": 8, "label": "PER"}]}
    ],
    "min.json": [
        {
            "text": TEXT,
            "label": [
                {"start": 0, "end": 8, "text": "Iva Holm", "labels": ["PER"]},
                {"start": 15, "end": 19, "text": "Riga", "labels": ["LOC"]},
            ],
            "annotator": 1,
        }
    ],
    "label_studio.json": [
        {
            "id": 5,
            "data": {"text": TEXT},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {
                    "result": [
                        {"type": "labels", "value": {"start": 0, "end": 8, "text": "Iva Holm", "labels": ["PER"]}},
                        {"type": "labels", "value": {"start": 15, "end": 19, "text": "Riga", "labels": ["LOC"]}},
                        {"type": "choices", "value": {"choices": ["news"]}},
                    ]
                },
            ],
        },
        {"id": 6, "data": {"text": "not done yet"}, "annotations": []},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_annotation_tools(tmp_path, name):
    path, rows = tmp_path / name, EXPORTS[name]
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    for fields in ((WORDS, TAGS), None):
        dataset = load_dataset(path, fields=fields)
        assert dataset["train"].text(0) == WORDS_OF_TEXT
        assert dataset["train"].tags_of(0) == TAGS_OF_TEXT
        assert len(dataset["train"]) == 1
    left_out = "train: 1 of 2 tasks have no annotation and are left out"
    assert (left_out in dataset.notes) == (name == "label_studio.json")


def test_columns_of_other_names():
    rows = [{"body": TEXT, "marks": [[0, 8, "PER"], [15, 19, "LOC"]]}]
    for options in ({"columns": {"words": "body", "tags": "marks"}}, {"text_column": "body", "tag_column": "marks"}):
        assert load_dataset(rows, **options)["train"].tags_of(0) == TAGS_OF_TEXT
    with pytest.raises(DataError, match=r"but the text is \['Riga'\]: a string is needed"):
        load_dataset([{"tokens": ["Riga"], "spans": [[0, 4, "LOC"]]}])


def read(text, *spans):
    counts = SpanCounts()
    words, tags = read_tagged_text(text, [list(span) for span in spans], counts)
    return list(zip(words, tags, strict=True)), counts


def test_a_span_within_a_word_is_widened_and_counted():
    pairs, counts = read("Riga-based firms", (0, 4, "LOC"))
    assert pairs == [("Riga-based", "B-LOC"), ("firms", "O")]
    assert counts.notes() == ["1 of 1 spans do not begin and end with words and are widened to whole words"]


def test_blanks_at_the_ends_of_a_span_do_not_count_and_labels_are_one_word():
    pairs, counts = read("saw Iva Holm .", (3, 13, "job title"))
    assert pairs == [("saw", "O"), ("Iva", "B-job_title"), ("Holm", "I-job_title"), (".", "O")]
    assert counts.notes() == []


def test_of_spans_that_overlap_the_longer_one_stays():
    pairs, counts = read("Bank of Riga fell", (8, 12, "LOC"), (0, 12, "ORG"), (0, 12, "ORG"))
    assert [tag for _, tag in pairs] == ["B-ORG", "I-ORG", "I-ORG", "O"]
    assert counts.notes() == ["1 of 2 spans overlap longer ones and are left out"]


def test_offsets_in_utf16_units_are_told_by_the_text_of_the_span():
    rows = [
        {"text": "\U0001f389\U0001f389 Riga won", "label": [{"start": 5, "end": 9, "text": "Riga", "labels": ["LOC"]}]}
    ]
    train = load_dataset(rows, fields=(WORDS, TAGS))["train"]
    assert train.tags_of(0) == ["O", "O", "B-LOC", "O"]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([[0, 99, "LOC"]], r"holds \[0, 99, 'LOC'\], which is outside the text of 8 characters"),
        ([[2, 2, "LOC"]], "which is outside the text"),
        ([[4, 5, "LOC"]], "which is outside the text"),
        ([[-4, -1, "LOC"]], "which is outside the text"),
        ([[0, 4, "LOC"], [0, 4]], r"holds \[0, 4\]: a span is \[start, end, label\]"),
        ([{"start": 0, "end": 4, "label": " "}], "a span has two integers and one label"),
        ([{"start": 0, "end": 4, "labels": ["LOC", "ORG"]}], "a span has two integers and one label"),
        ([{"start": 0, "end": 4, "text": "Oslo", "label": "LOC"}], "holds a span 0 to 4 of 'Oslo', where the text has"),
    ],
)
def test_spans_that_do_not_fit_are_refused(label, message):
    with pytest.raises(DataError, match=message):
        load_dataset([{"text": "Riga won", "label": label}], fields=(WORDS, TAGS))


@settings(deadline=None)
@given(st.text("ab .-\U0001f389\u0301", min_size=1, max_size=20), st.data())
def test_every_word_of_a_span_has_its_label_and_no_other(text, data):
    places = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(places, places, st.sampled_from("XY")), max_size=3))
    spans = [(min(a, b), max(a, b), label) for a, b, label in spans if text[min(a, b) : max(a, b)].strip()]
    pairs, counts = read(text, *spans)
    assert "".join(word for word, _ in pairs) == "".join(text.split())
    assert counts.total == len({(*trimmed(text, a, b), label) for a, b, label in spans})
    assert sum(tag.startswith("B-") for _, tag in pairs) == counts.total - counts.overlapping
    if not spans:
        assert {tag for _, tag in pairs} <= {"O"}


def trimmed(text, start, end):
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())
