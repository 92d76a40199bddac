from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, Entities

from lm_gym.data import Corpus, DataError, Dataset

entities = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "LOC", "PER", "A-B"])), min_size=1, max_size=8)
texts = st.lists(entities, min_size=1, max_size=4)


def write(text, scheme):
    """Return the tags of segments [(length, type or "")] in a scheme, by definition."""
    tags, before = [], ""
    for length, kind in text:
        if not kind:
            tags += ["O"] * length
        elif scheme == "iob1":
            tags += [f"{'B' if before == kind else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif scheme == "iob2":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        else:
            begin, inside, end, single = scheme
            middle = [begin, *inside * (length - 2), end] if length > 1 else [single]
            tags += [f"{letter}-{kind}" for letter in middle]
        before = kind
    return tags


def read(tag_texts, scheme="auto"):
    corpus = Corpus.from_sentences([(["w"] * len(tags), tags) for tags in tag_texts], scheme)
    return [corpus.tags_of(i) for i in range(len(corpus))]


@pytest.mark.parametrize(
    ("scheme", "asked"),
    [("iob1", "iob1"), ("iob2", "iob2"), *((letters, "iobes") for letters in ("BIES", "BILU", "BMES", "BMEW"))],
)
@settings(max_examples=40, deadline=None)
@given(texts=texts)
def test_every_scheme_becomes_iob2(scheme, asked, texts):
    expected = [write(text, "iob2") for text in texts]
    written = [write(text, scheme) for text in texts]
    assert read(written) == expected
    assert read(written, asked) == expected
    assert read(written, "conlleval") == expected


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-Y"]), min_size=1), min_size=1))
def test_conlleval_reads_any_sequence_as_seqeval_does(tag_texts):
    assert get_entities(read(tag_texts, "conlleval")) == get_entities(tag_texts)


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        (["O", "I-X"], "iob2", "text 1: tag 'I-X' begins an entity, which only B- may do: not IOB2"),
        (["B-X", "I-Y"], "iob2", "tag 'I-Y' begins an entity"),
        (["S-X"], "iob1", "tag 'S-X' is not IOB1"),
        (["S-X", "U-X"], "auto", "tag 'U-X' is BILOU, but 'S-X' is IOBES"),
        (["B-X", "O", "S-X"], "auto", "tag 'O' does not fit the previous tag.*scheme='conlleval'"),
        (["S-X", "I-X", "E-X"], "auto", "tag 'I-X' does not fit"),
        (["S-X", "B-X"], "auto", "tag 'B-X' .*leaves the entity open"),
        (["B-X", "E-Y"], "iobes", "tag 'E-Y' does not fit"),
        (["B-X", "N-X"], "auto", "tag 'N-X' fits no scheme"),
        (["B-X", "M-X"], "auto", "tag 'M-X' does not fit the previous tag, or leaves the entity open"),
        (["o"], "auto", "tag 'o' fits no scheme"),
        (["B-X Y"], "auto", "fits no scheme"),
    ],
)
def test_tags_that_fit_no_scheme_are_refused(tags, scheme, message):
    first = (["a"], ["O"])
    with pytest.raises(DataError, match=message):
        Corpus.from_sentences([first, (["w"] * len(tags), tags)], scheme)


@settings(max_examples=40, deadline=None)
@given(texts=texts)
def test_letters_alone_are_entities_of_one_type(texts):
    for scheme in ("iob2", "BIES", "BMES"):
        alone = [[tag.partition("-")[0] for tag in write(text, scheme)] for text in texts]
        ends = [[tag.partition("-")[0] for tag in write(text, "iob2")] for text in texts]
        expected = [[tag if tag == "O" else f"{tag}-_" for tag in tags] for tags in ends]
        assert read(alone) == read(alone, "conlleval") == expected
        assert scheme == "BMES" or get_entities(read(alone)) == get_entities(alone)


@settings(max_examples=40, deadline=None)
@given(texts=texts)
def test_types_alone_are_runs_of_words(texts):
    alone = [[kind or "O" for length, kind in text for _ in range(length)] for text in texts]
    expected = [write(text, "iob2") for text in map(runs, alone)]
    assert read(alone, "io") == expected
    assert read([[f"I-{tag}" if tag != "O" else tag for tag in tags] for tags in alone], "io") == expected
    if any("O" in tags for tags in alone) and not any("A-B" in tags for tags in alone):  # A-B could be letter and type
        assert read(alone) == read(alone, "conlleval") == expected


def runs(tags):
    """Return the segments [(length, type or "")] of neighbouring words with the same tag."""
    return [(len([*group]), "" if tag == "O" else tag) for tag, group in groupby(tags)]


def test_an_entity_does_not_run_on_into_the_next_text():
    assert read([["I-X"], ["I-X", "I-X"]]) == [["B-X"], ["B-X", "I-X"]]
    with pytest.raises(DataError, match=r"text 0: .*leaves the entity open"):
        read([["B-X"], ["E-X"]])


def test_a_mixture_of_iob1_and_iob2_is_remarked_on():
    mixed = Dataset.from_sentences("mixed", [(["a", "b", "c"], ["I-X", "O", "B-X"])])
    assert mixed.notes == ("train: 1 entities begin with I- and 1 with B- where IOB1 has I-: read as conlleval does",)
    assert mixed["train"].tags_of(0) == ["B-X", "O", "B-X"]


def test_conversion_in_blocks_equals_conversion_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    tag_texts = [list(rng.choice(["O", "B-X", "I-X", "I-Y"], size)) for size in rng.integers(1, 40, 50)]
    whole = read(tag_texts)
    monkeypatch.setattr("lm_gym.data.schemes._BLOCK", 16)
    assert read(tag_texts) == whole


def test_seqeval_reads_the_same_entities_out_of_the_schemes():
    text = [(2, "X"), (1, "X"), (1, ""), (3, "Y")]
    ours = {(kind, start, stop + 1) for kind, start, stop in get_entities(read([write(text, "BIES")])[0])}
    for letters, scheme in (("BIES", IOBES), ("BILU", BILOU)):
        theirs = Entities([write(text, letters)], scheme).entities[0]
        assert {(e.tag, e.start, e.end) for e in theirs} == ours
