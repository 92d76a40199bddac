"""Defaults that depend on the model: their table, Python and the command line, and resumed runs."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch as th
import yaml

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms import defaults, gradient_algorithm
from lm_gym.agents.algorithms.defaults import TABLE, WIDTH, default_of, rate_at
from lm_gym.agents.algorithms.presets import CMAES, ES, PRESETS
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.schedules import ScheduledRate
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.devices import has_fast_bfloat16
from lm_gym.agents.model.start import Start
from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.train import main
from lm_gym.data import Dataset
from tests.runs import report, train, write_corpus
from tests.small import few_names, small

TAGGER = Start("labels", "fresh head", WIDTH)
OPTIONS = {"ner": {}, "masked_lm": {"env.id": "lm_gym/MaskedLM-v0"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def run_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "reinforce")


def agent_of(*arguments: str) -> Any:
    settings = parse_settings(arguments)
    return make_agent(settings, make_env(settings, make_training_dataset(settings), "train", learning=True))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_defaults_whatever_the_model(name: str) -> None:
    kind = ALGORITHMS[name]
    key = "learning_rate" if issubclass(kind, ScheduledRate) else "optimizer_kwargs"
    for start in (None, TAGGER, Start("vocabulary", "trained", WIDTH), Start("vocabulary", "random", WIDTH)):
        assert default_of(kind, start)[key]


def test_no_row_is_hidden_by_an_earlier_one() -> None:
    for i, row in enumerate(TABLE):
        for earlier in TABLE[:i]:
            wider = [
                theirs in (None, own)
                for theirs, own in zip(earlier[2:5], row[2:5], strict=True)  # head, weights, space
            ]
            assert not (earlier.algorithm == row.algorithm and all(wider) and earlier.at_least <= row.at_least), row


@pytest.mark.parametrize(("hidden_size", "rate"), [(16, 1e-3), (128, 1e-3), (384, 2e-4), (768, 7e-5), (1024, 4e-5)])
def test_rates_fall_with_the_width_of_the_model(hidden_size: int, rate: float) -> None:
    assert rate_at(1e-3, hidden_size) == rate


def test_a_policy_knows_what_its_weights_are(run_dir: Path) -> None:
    def start(labels: tuple[str, ...], model: Any) -> Start:
        texts = [(["Ada", "saw", "Oslo"], [labels[i % len(labels)] for i in range(3)])] * 9
        env = gymnasium.make_vec(
            "lm_gym/NER-v0", num_envs=2, dataset=Dataset.from_sentences("few", texts), unit="sequence",
            tokenizer="tiny", autoreset_mode="SameStep",
        )  # fmt: skip
        kwargs = small(env) if model is None else {"model": model}
        found: Start = REINFORCE("LMPolicy", env, policy_kwargs=kwargs, device="cpu").policy.start
        return found

    tags = ("B-PER", "O", "B-LOC")
    assert start(tags, None) == Start("labels", "random", 16)
    assert start(tags, "tiny") == Start("labels", "fresh head", 128)
    assert start(tags, str(run_dir / "best")) == Start("labels", "trained", 128)
    with pytest.warns(UserWarning, match="dropped: "):
        assert start(("O", "B-LOC"), str(run_dir / "best")).weights == "trained"
    with pytest.warns(UserWarning, match="new: "):
        assert start((*tags[:2], "B-DAY"), str(run_dir / "best")).weights == "fresh head"
    env = gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=2, unit="sequence", autoreset_mode="SameStep")
    assert REINFORCE("LMPolicy", env, device="cpu").policy.start == Start("vocabulary", "trained", 128)


def test_python_and_the_command_line_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    row = defaults.Default("REINFORCE", {"learning_rate": 3.3e-3}, "vocabulary", ("trained",))
    monkeypatch.setattr(defaults, "TABLE", (row, *TABLE))
    env = gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=2, unit="sequence", autoreset_mode="SameStep")
    python, command = REINFORCE("LMPolicy", env, device="cpu"), agent_of("--env.id=lm_gym/MaskedLM-v0", "--device=cpu")
    assert python.learning_rate == command.learning_rate == 0.003
    assert python.decided == command.decided
    assert python.decided["learning_rate"] == "vocabulary head, trained, hidden size 128"
    assert REINFORCE("LMPolicy", env, 0.5, device="cpu").learning_rate == 0.5


def test_what_is_given_stands_over_the_table() -> None:
    agent = agent_of("--algo=es", "--agent.optimizer_kwargs.sigma=0.7", "--device=cpu")
    usual = default_of(ES, TAGGER)["optimizer_kwargs"]
    assert agent.optimizer_kwargs == {**usual, "sigma": 0.7}
    other = agent_of("--algo=es", "--agent.optimizer=snes", "--device=cpu")
    assert (other.optimizer_name, other.optimizer_kwargs) == ("snes", {})
    assert "optimizer_kwargs" not in other.decided


def test_a_search_of_many_numbers_leaves_full_covariances_out() -> None:
    names = [default_of(CMAES, TAGGER, "head", numbers).get("optimizer") for numbers in (2000, 2001)]
    assert names == [None, "sep_cma_es"]


@pytest.mark.parametrize("name", ["reinforce", *PRESETS])
def test_a_saved_agent_keeps_its_defaults(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=2, dataset=few_names(8), tokenizer="tiny", autoreset_mode="SameStep",
        **(kind := ALGORITHMS[name]).env_arguments,
    )  # fmt: skip
    agent = kind("LMPolicy", env, policy_kwargs=small(env), device="cpu")
    agent.save(tmp_path / "agent")
    monkeypatch.setattr(defaults, "TABLE", ())
    again = kind.load(tmp_path / "agent", env=env, device="cpu")
    assert again.decided_settings() == agent.decided_settings() != {}


@pytest.mark.parametrize("task", OPTIONS)
@pytest.mark.parametrize("algo", ["reinforce", "es"])
def test_a_printed_config_says_what_is_decided_and_why(
    algo: str, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--algo={algo}", *(f"--{key}={value}" for key, value in OPTIONS[task].items())]
    with pytest.raises(SystemExit, match="0"):
        main([*options, "--print_config"])
    printed = capsys.readouterr().out
    agent = agent_of(*options)
    for key, value in agent.decided_settings().items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"  {key}:"))
        assert line.partition("  # ")[2].partition("; defaults: ")[0] == f"{value}: {agent.decided[key]}"
    for key in ("samples", "advantage") if algo == "reinforce" else ():
        assert f"  {key}: auto  # " in printed
    if algo == "es":
        assert "  optimizer: null  # es\n  search_space: null  # head\n" in printed
        assert "'weight_decay': 0.0" in printed
    assert yaml.safe_load(printed) == yaml.safe_load(parse_settings(options).yaml)


def test_a_run_keeps_what_was_decided(run_dir: Path) -> None:
    kept = yaml.safe_load((run_dir / "config.yaml").read_text())["agent"]
    assert kept["learning_rate"] == rate_at(default_of(REINFORCE, TAGGER)["learning_rate"], 128)


def test_a_run_that_gains_nothing_says_so(
    run_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(run_dir)["improved"] is True
    assert "no better" not in (run_dir / "report.md").read_text()
    spoilt = train(
        data,
        tmp_path / "spoilt",
        f"--policy.model={run_dir / 'best'}",
        "--agent.learning_rate=1.0",
        "--budget.passes=1",
    )
    said = "It is no better than the model that the run began with, 1.0000 on validation: train longer, or with"
    assert report(spoilt)["improved"] is False
    assert said in (spoilt / "report.md").read_text()
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_warm_start_takes_smaller_steps(run_dir: Path, data: Path) -> None:
    warm = agent_of(f"--policy.model={run_dir / 'best'}", f"--env.dataset={data}", "--device=cpu")
    assert warm.learning_rate == default_of(REINFORCE, Start("labels", "trained", WIDTH))["learning_rate"]
    assert warm.learning_rate < default_of(REINFORCE, TAGGER)["learning_rate"]


@pytest.mark.parametrize(("env_id", "reward"), [("lm_gym/NER-v0", "f1"), ("lm_gym/MaskedLM-v0", "log_likelihood")])
def test_random_search_maximises_the_metric_where_likelihood_misleads(env_id: str, reward: str) -> None:
    agent = ALGORITHMS["random_search"]("LMPolicy", env_id, seed=0, device="cpu")  # type: ignore[call-arg]
    assert agent.env is not None
    assert TextEnvironments(agent.env).first.reward.name == reward
    assert parse_settings(["--algo=random_search", f"--env.id={env_id}"]).env.reward == reward
    assert parse_settings(["--algo=es", f"--env.id={env_id}"]).env.reward == "log_likelihood"


@pytest.mark.parametrize(
    ("fast", "widest", "dtype", "taken"),
    [
        (True, 16, "float32", True),
        (False, 16, "float32", False),
        (True, 17, "float32", False),  # a hidden size of 16 is too small
        (True, 16, "bfloat16", False),  # the weights are in it already
    ],
)
def test_autocast_is_decided_by_the_processor_and_the_model(
    fast: bool, widest: int, dtype: str, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gradient_algorithm, "has_fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(gradient_algorithm, "_WIDE", widest)
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=2, unit="sequence", autoreset_mode="SameStep")
    options: dict[str, Any] = {"policy_kwargs": {**small(env), "dtype": dtype}, "device": "cpu"}
    model = REINFORCE("LMPolicy", env, **options)
    assert model.autocast is taken
    assert model.decided_settings()["autocast"] is taken
    model.save(tmp_path / "model")
    monkeypatch.setattr(gradient_algorithm, "has_fast_bfloat16", lambda device: not fast)
    assert REINFORCE.load(tmp_path / "model", env, device="cpu").autocast is taken  # on any machine
    assert REINFORCE("LMPolicy", env, autocast=not taken, **options).autocast is not taken


def test_autocast_on_the_command_line() -> None:
    for text, value in (("auto", "auto"), ("true", True), ("false", False)):
        settings = parse_settings([f"--agent.autocast={text}"])
        assert settings.agent["autocast"] == value


def test_the_processor_is_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for vector, tile in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(th.cpu, "_is_avx512_bf16_supported", lambda has=vector: has)
        monkeypatch.setattr(th.cpu, "_is_amx_tile_supported", lambda has=tile: has)
        assert has_fast_bfloat16(th.device("cpu")) is (vector or tile)
    assert not has_fast_bfloat16(th.device("meta"))
