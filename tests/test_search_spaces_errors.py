"""A search space that cannot be built ends a run with one line, before it has a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.agents.train import main
from tests.runs import write_corpus

CASES: list[tuple[str, dict[str, Any], str]] = [
    ("full", {"only": ["*layer.9.*"]}, "only='*layer.9.*' matches no free parameter"),
    ("last_k_layers", {"k": 9}, "k=9: the model has"),
    ("head", {"scale": 0}, "scale must be above 0"),
    ("bias", {"scale": float("nan")}, "scale must be"),
    ("lora", {"rank": 1000}, "rank=1000: the smallest side of a chosen matrix"),
    ("lora", {"targets": ["*nowhere*"]}, "match no linear module"),
    ("soft_prompt", {"tokens": 0}, "tokens must be at least 1"),
    ("soft_prompt", {"tokens": 1, "dim": 10_000}, "dim=10000"),
    ("deep_prompt", {"tokens": 0}, "tokens must be at least 1"),
    ("head_mask", {"price": -1}, "price must be at least 0"),
    ("discrete_prompt", {"tokens": 1, "candidates": [7, 7]}, "give at least two different ids"),
    ("hed", {}, "'hed' (did you mean 'head'?)"),
]


def test_every_space_is_tried() -> None:
    assert {name for name, _, _ in CASES} - {"hed"} == set(SEARCH_SPACES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.mark.parametrize(("space", "arguments", "message"), CASES)
@pytest.mark.parametrize("unknown", [False, True])
def test_errors_are_one_line(
    space: str,
    arguments: dict[str, Any],
    message: str,
    unknown: bool,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if unknown:
        arguments, message = {"rnak": 2}, "'rnak'" if space != "hed" else message
    given = {"algo": "es", "env.dataset": data, "run_dir": tmp_path / "run", "device": "cpu"}
    given |= {"agent.search_space": space, "agent.search_space_kwargs": json.dumps(arguments)}
    with pytest.raises(SystemExit, match="2"):
        main([f"--{key}={value}" for key, value in given.items()])
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message in said
    assert not (tmp_path / "run").exists()
