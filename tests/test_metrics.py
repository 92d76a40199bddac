"""Metrics against seqeval, scikit-learn, and numbers computed by hand."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as seqeval_default
from seqeval.metrics.v1 import precision_recall_fscore_support as seqeval_strict
from seqeval.scheme import IOB2
from sklearn.metrics import classification_report, matthews_corrcoef
from sklearn.metrics import confusion_matrix as confusion_of_sklearn

from lm_gym.metrics import (
    accuracy,
    calibration_error,
    confusion_matrix,
    confusion_report,
    cross_entropy,
    entity_report,
    entity_spans,
    entity_types,
    flat_tags,
    matthews,
    perplexity,
    token_report,
)

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-X-Y", "I-X-Y")
tag_texts = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1), min_size=1)


def as_lists(pairs):
    return [[g for g, _ in text] for text in pairs], [[p for _, p in text] for text in pairs]


def assert_scores(ours, theirs):
    assert (ours.precision, ours.recall, ours.f1, ours.support) == pytest.approx(theirs)


@given(tag_texts, st.booleans())
@settings(max_examples=200, deadline=None)
def test_entity_report_equals_seqeval_on_any_tag_sequence(pairs, strict):
    gold, predicted = as_lists(pairs)
    report = entity_report(*flat_tags(gold, predicted), strict=strict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of classes without cases
        for average in ("micro", "macro", "weighted"):
            if strict:
                theirs = seqeval_strict(gold, predicted, average=average, scheme=IOB2)
            else:
                theirs = seqeval_default(gold, predicted, average=average)
            # with no entity at all seqeval's macro mean is NaN, ours 0
            assert_scores(getattr(report, average), np.nan_to_num(theirs))
        if strict:
            per_type = seqeval_strict(gold, predicted, average=None, scheme=IOB2)
        else:
            per_type = seqeval_default(gold, predicted, average=None)
    for ours, theirs in zip(report.classes.values(), zip(*per_type, strict=True), strict=True):
        assert_scores(ours, theirs)


@given(tag_texts)
@settings(max_examples=100, deadline=None)
def test_token_report_equals_sklearn(pairs):
    gold, predicted = as_lists(pairs)
    true, guess, names, _ = flat_tags(gold, predicted)
    report = token_report(true, guess, names)
    labels = sorted({*true, *guess})
    theirs = classification_report(
        true, guess, labels=labels, target_names=[names[i] for i in labels], output_dict=True, zero_division=0
    )
    for name, ours in report.rows():
        if name == "micro avg":  # sklearn calls it accuracy when every label is listed
            assert ours.f1 == pytest.approx(theirs["accuracy"])
            assert ours.precision == ours.recall == ours.f1
        else:
            row = theirs[name]
            assert_scores(ours, (row["precision"], row["recall"], row["f1-score"], row["support"]))


def test_entity_report_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "B-LOC"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "I-LOC"]]
    report = entity_report(*flat_tags(gold, predicted))
    # one of three guesses is right, out of four entities
    assert (report.micro.precision, report.micro.recall) == pytest.approx((1 / 3, 1 / 4))
    assert report.micro.f1 == pytest.approx(2 / 7)
    assert report.classes["PER"].f1 == pytest.approx(2 / 3)
    assert report.classes["LOC"].f1 == 0
    assert report.macro.f1 == pytest.approx(1 / 3)
    assert report.weighted.f1 == pytest.approx(2 / 3 / 4)
    assert report.micro.support == 4


def test_spans_of_well_and_badly_formed_tags():
    names = ("O", "B-A", "I-A", "B-B", "I-B")
    #        text 1: A A | B  | text 2: (I-A) O | text 3: B then I-A
    tags = [1, 2, 4, 2, 0, 3, 2]
    offsets = [0, 3, 5, 7]
    assert entity_types(names) == ("A", "B")
    loose = [[0, 0, 2], [1, 2, 3], [0, 3, 4], [1, 5, 6], [0, 6, 7]]
    assert entity_spans(tags, names, offsets).tolist() == loose
    assert entity_spans(tags, names, offsets, strict=True).tolist() == [[0, 0, 2], [1, 5, 6]]


def test_an_entity_does_not_run_on_into_the_next_text():
    names = ("O", "B-A", "I-A")
    assert len(entity_spans([1, 2], names, [0, 1, 2])) == 2
    assert len(entity_spans([1, 2], names)) == 1


def test_all_o_scores_zero_as_entities_and_high_as_tokens():
    names = ("O", "B-A", "I-A")
    gold = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2])
    assert entity_report(gold, np.zeros_like(gold), names).micro.f1 == 0
    assert token_report(gold, np.zeros_like(gold), names).micro.f1 == pytest.approx(0.8)


def test_perfect_and_empty():
    names = ("O", "B-A", "I-A")
    assert entity_report([1, 2, 0], [1, 2, 0], names).micro.f1 == 1
    nothing = entity_report([], [], names)
    assert (nothing.micro.f1, nothing.macro.f1, nothing.weighted.f1, nothing.classes) == (0, 0, 0, {})


def test_reports_print_and_serialise():
    arguments = flat_tags([["B-PER", "O"]], [["B-PER", "O"]])
    entities = entity_report(*arguments)
    assert str(entities).splitlines()[0] == "Entity report (conlleval)"
    assert str(entity_report(*arguments, strict=True)).startswith("Entity report (strict IOB2)")
    tokens = token_report(*arguments[:3])
    assert str(tokens).splitlines()[0] == "Token-level report (O included; not entity F1)"
    table = str(tokens).splitlines()
    assert len({len(line) for line in table[1:] if line}) == 1
    assert [name for name, _ in tokens.rows()] == ["B-PER", "O", "micro avg", "macro avg", "weighted avg"]
    decoded = json.loads(json.dumps(entities.to_dict()))
    assert decoded["classes"]["PER"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert decoded["micro"]["f1"] == 1.0


def test_accuracy_cross_entropy_and_perplexity():
    assert accuracy([1, 2, 3, 4], [1, 2, 0, 0]) == 0.5
    logs = np.log([0.5, 0.125])
    assert cross_entropy(logs) == pytest.approx(2 * np.log(2))
    assert perplexity(logs) == pytest.approx(4)
    assert cross_entropy([0.0, -np.inf]) == np.inf
    assert perplexity([-1000.0]) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entity_report([0, 1], [0], ("O", "B-A")), "shape"),
        (lambda: entity_report([0, 2], [0, 0], ("O", "B-A")), "tag 2 is outside the 2 tag names"),
        (lambda: entity_report([0, -1], [0, 0], ("O", "B-A")), "tag -1"),
        (lambda: entity_report([0], [0], ("O", "S-A")), "'S-A' is not IOB2"),
        (lambda: entity_report([0, 0], [0, 0], ("O",), [0, 1]), "offsets must rise from 0 to the 2 tags"),
        (lambda: token_report([0.0], [0.0], ("O",)), "flat array of integers"),
        (lambda: flat_tags([["O"]], [["O", "O"]]), "differ in the number"),
        (lambda: accuracy([], []), "no positions"),
        (lambda: cross_entropy([]), "no positions"),
        (lambda: cross_entropy([np.nan, -1]), "NaN"),
        (lambda: perplexity([0.5]), "at most 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for classes in (2, 3, 7):
        gold, predicted = rng.integers(0, classes, (2, 200))
        matrix = confusion_matrix(gold, predicted, classes)
        assert matrix.tolist() == confusion_of_sklearn(gold, predicted).tolist()
        assert matthews(matrix) == pytest.approx(matthews_corrcoef(gold, predicted))
    assert matthews(confusion_matrix(gold, gold * 0, 7)) == 0.0


def test_calibration_error_by_hand():
    # two bins: (0.5, 1] has 0.6 and 0.8, half right; (0, 0.5] has 0.4, wrong
    found = calibration_error(np.log([0.6, 0.8, 0.4]), [True, False, False], bins=2)
    assert found == pytest.approx((abs(1.4 - 1.0) + 0.4) / 3)
    assert calibration_error(np.log([1.0, 1.0]), [True, True]) == 0.0
    with pytest.raises(ValueError, match="no decisions"):
        calibration_error([], [])


def test_the_report_draws_the_confusion_matrix():
    report = confusion_report([0, 0, 1], [0, 1, 1], ("down", "up"), "Report by label")
    assert report.confusion == ((1, 1), (0, 1))
    assert str(report).splitlines()[-3:] == [
        "gold \\ predicted  down  up",
        "            down     1   1",
        "              up     0   1",
    ]
