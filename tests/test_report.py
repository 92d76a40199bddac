"""The tables and texts of the report, from invented numbers."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console

from lm_gym.agents.evaluation.confusion import confusion_image, confusion_matrix
from lm_gym.agents.evaluation.report import closing_table, split_of, table_rows
from lm_gym.agents.runs.run_state import RunState

REPORT = {
    "algo": "reinforce",
    "env": "lm_gym/NER-v0",
    "dataset": "people",
    "metrics": {
        "validation": {"entity_f1": 0.9, "entity_precision": 0.8, "perplexity": 1.2},
        "test": {"entity_f1": 0.7, "entity_precision": 0.6, "perplexity": 54321.0},
    },
    "baselines": {
        "random": {"entity_f1": 0.1, "entity_precision": 0.1, "perplexity": 5.0},
        "majority": {"entity_f1": 0.3, "entity_precision": 0.2},
        "untrained": {"entity_f1": 0.05, "entity_precision": 0.01, "perplexity": 6.0},
    },
}


def shown(report: dict[str, object]) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(closing_table(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_rows_are_the_test_split_and_the_rows_to_beat() -> None:
    rows = table_rows(REPORT)
    assert list(rows) == ["this run", "random", "majority tag", "untrained policy"]
    assert rows["this run"] is REPORT["metrics"]["test"]  # type: ignore[index]


def test_without_test_the_rows_are_on_validation() -> None:
    report = {**REPORT, "metrics": {"validation": {"entity_f1": 0.9}}}
    assert split_of(report) == "validation"
    assert table_rows(report)["this run"] == {"entity_f1": 0.9}


def test_masked_lm_is_beside_the_most_frequent_token() -> None:
    assert "most frequent token" in table_rows({**REPORT, "env": "lm_gym/MaskedLM-v0"})


def test_closing_table_fits_a_terminal() -> None:
    lines = shown(REPORT)
    assert all(len(line) <= 80 for line in lines)
    row = next(line for line in lines if "this run" in line)
    assert row.split() == ["this", "run", "0.7000", "54,321"]
    missing = next(line for line in lines if "majority" in line)
    assert missing.rstrip().endswith("–")


def test_the_first_value_is_the_best_and_then_what_is_better() -> None:
    rises, falls = RunState("entity_f1"), RunState("perplexity")
    assert [rises.record(value, 9) for value in (0.0, 0.5, 0.5, 0.4, 0.6)] == [True, True, False, False, True]
    assert [falls.record(value, 9) for value in (1e9, 0.5, 0.5, 0.6, 0.4)] == [True, True, False, False, True]


def decided(names: tuple[str, ...] | None, targets: list[int], choices: list[int]) -> Any:
    task = SimpleNamespace(choice_names=names, choice_name=lambda choice: names[choice] if names else "")
    return SimpleNamespace(task=task, targets=np.array(targets), choices=np.array(choices))


def test_confusion_matrix_by_hand() -> None:
    found = confusion_matrix(decided(("O", "B-PER", "I-PER"), [0, 0, 1, 2, 2], [0, 1, 1, 0, 0]))
    assert found is not None
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]  # gold labels are rows


def test_the_image_of_a_confusion_matrix_shows_shares_and_needs_few_labels() -> None:
    image = confusion_image(decided(("no", "yes"), [0, 0, 1, 1], [0, 0, 0, 1]))
    assert image is not None
    assert image.shape[0] == image.shape[1]
    cells = [image[-8 - 46 * row - 40, -8 - 46 * column - 40].tolist() for row in (1, 0) for column in (1, 0)]
    assert cells == [[0, 114, 178], [255, 255, 255], [127, 184, 216], [127, 184, 216]]
    assert confusion_image(decided(None, [0], [0])) is None
    assert confusion_image(decided(tuple(map(str, range(31))), [0], [0])) is None
