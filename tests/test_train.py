"""The run folders of `python -m agents.train`, and its errors."""

import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForTokenClassification, AutoTokenizer

from lm_gym.agents.train import main
from tests.runs import curve, options, report, train, write_corpus


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def run_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "reinforce")


def events(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def test_report_has_the_agreed_keys(run_dir: Path) -> None:
    found = json.loads((run_dir / "report.json").read_text())
    assert set(found) == {
        *("algo", "env", "dataset", "model", "seed", "timesteps", "forward_passes", "backward_passes", "tokens"),
        *(
            "seconds",
            "peak_memory_bytes",
            "chosen",
            "improved",
            "stopped_early",
            "metrics",
            "baselines",
            "fingerprint",
            "reports",
        ),
    }
    assert (found["algo"], found["env"], found["dataset"]) == ("reinforce", "lm_gym/NER-v0", "people")
    assert found["timesteps"] == 3 * 12 * 4 * 4  # passes, texts, positions, samples
    assert found["forward_passes"] == found["backward_passes"] == 36
    assert found["chosen"]["pass"] in (0, 1, 2, 3)
    assert found["peak_memory_bytes"] > 50e6
    assert 0 < found["seconds"] < 600
    keys = {"entity_f1", "entity_precision", "entity_recall", "token_accuracy", "token_macro_f1"}
    assert set(found["metrics"]) == {"validation", "test"}
    assert set(found["baselines"]) == {"random", "majority", "untrained"}
    assert all(keys <= set(metrics) for metrics in (*found["metrics"].values(), *found["baselines"].values()))


def test_curve_has_every_log_once(run_dir: Path) -> None:
    rows = curve(run_dir)
    steps = [row["timesteps"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == 576
    evaluated = [row["timesteps"] for row in rows if "eval/entity_f1" in row]
    assert evaluated == [0, 192, 384, 576]
    assert all({"train/loss", "budget/forward_passes", "reward/accuracy"} <= set(row) for row in rows[1:])


def test_tensorboard_has_the_curve_samples_and_settings(run_dir: Path) -> None:
    found = events(run_dir)
    by_step = {row["timesteps"]: row["eval/entity_f1"] for row in curve(run_dir) if "eval/entity_f1" in row}
    points = [(event.step, event.value) for event in found.Scalars("eval/entity_f1")]
    assert [step for step, _ in points] == list(by_step)
    assert [value for _, value in points] == pytest.approx(list(by_step.values()))
    shown = found.Tensors("eval/samples/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "saw" in shown
    assert "`B-PER`" in shown
    assert found.SummaryMetadata("_hparams_/experiment").plugin_data.plugin_name == "hparams"


def test_best_model_is_a_plain_checkpoint(run_dir: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(run_dir / "best")
    assert set(model.config.id2label.values()) == {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}
    assert AutoTokenizer.from_pretrained(run_dir / "best").tokenize("Oslo")


def test_predictions_are_conll_columns(run_dir: Path) -> None:
    texts = (run_dir / "predictions.conll").read_text().strip().split("\n\n")
    assert len(texts) == 12
    assert [line.split()[:2] for line in texts[0].splitlines()][1] == ["saw", "O"]
    assert all(len(line.split()) == 3 for text in texts for line in text.splitlines())


def test_config_runs_again_to_the_same_numbers(run_dir: Path, tmp_path: Path) -> None:
    main(["--config", str(run_dir / "config.yaml"), "--run_dir", str(tmp_path / "again")])
    assert curve(tmp_path / "again") == curve(run_dir)
    assert report(tmp_path / "again") == report(run_dir)
    assert (tmp_path / "again/config.yaml").read_text() == (run_dir / "config.yaml").read_text()


def test_masked_lm_and_the_supervised_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = (f"the {kind} cat sat on the mat\n" for kind in ("red", "old", "big", "wet", "sad"))
    (tmp_path / "train.txt").write_text("".join(texts))
    main(
        [
            *("--algo=supervised", "--env.id=lm_gym/MaskedLM-v0", f"--env.dataset={tmp_path / 'train.txt'}"),
            *("--env.num_envs=2", "--env.mask_probability=0.3", "--budget.timesteps=20", "--device=cpu"),
            f"--run_dir={tmp_path / 'run'}",
        ]
    )
    found = json.loads((tmp_path / "run/report.json").read_text())
    assert {"accuracy", "cross_entropy", "perplexity", "mean_reward"} <= set(found["metrics"]["validation"])
    assert "held out of train" in (tmp_path / "run/report.md").read_text()
    line = json.loads((tmp_path / "run/predictions.jsonl").read_text().splitlines()[0])
    assert len(line["gold"]) == len(line["predicted"]) == line["text"].count("[MASK]")
    shown = capsys.readouterr().out
    assert "most frequent token" in shown
    assert "held out of train" in shown


def test_an_existing_run_is_not_touched(run_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="2"):
        main(options(data, run_dir))
    assert f"--resume {run_dir}" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env.dataste=x"], "'env.dataset'"),
        (["--agent.sample=4"], "'agent.samples'"),
        (["--polcy.model=tiny"], "'policy.model'"),
        (["--algo=reinforc"], "'reinforce'"),
        (["--env.sampling=shufled"], "'shuffled'"),
        (["--agent.advantage=maximum_likelyhood"], "'maximum_likelihood'"),
        (["--agent.samples=many"], "agent.samples"),
        (["--agent.learning_rate=fast"], "agent.learning_rate"),
        (["--agent.samples=0"], "samples"),
        (["--env.num_envs=0"], "env.num_envs must be at least 1, got 0"),
        (["--budget.passes=0"], "budget.passes must be above 0"),
        (["--budget.passes=1", "--budget.timesteps=10"], "budget.passes and budget.timesteps"),
        (["--env.id=lm_gym/NER-v1"], "'lm_gym/NER-v0'"),
        (["--env.dataset=buildin"], "no dataset 'buildin'"),
        (["--env.reward=acuracy"], "'accuracy'"),
        (["--policy.model=no/such/model"], "no/such/model"),
        (["--evaluation.metric=f1"], "entity_f1"),
        (["--config=none.yaml"], "none.yaml"),
        (["--resume=nowhere"], "nowhere does not exist"),
        (["--resume=a", "--run_dir=b"], "leave out --run_dir"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_configs_compose_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("algo: supervised\nseed: 1\nbudget: {passes: 7}\nagent: {learning_rate: 0.5}\n")
    (tmp_path / "b.yaml").write_text("seed: 2\nenv: {num_envs: 3}\n")
    arguments = [f"--config={tmp_path / 'a.yaml'}", f"--config={tmp_path / 'b.yaml'}", "--budget.timesteps=9"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["algo"], found["seed"], found["env"]["num_envs"]) == ("supervised", 2, 3)
    assert found["agent"]["learning_rate"] == 0.5
    assert found["budget"] == {"timesteps": 9} | dict.fromkeys(
        ("passes", "forward_passes", "equivalents", "seconds", "patience")
    )
    assert "samples" not in found["agent"]


def test_a_wrong_key_in_a_file_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("agent: {samplse: 1}\n")
    with pytest.raises(SystemExit, match="2"):
        main([f"--config={tmp_path / 'a.yaml'}"])
    error = capsys.readouterr().err
    assert "a.yaml" in error
    assert "'agent.samples'" in error


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_config_is_accepted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([f"--config={path}", "--print_config"])
    assert capsys.readouterr().out.startswith("algo:")


def test_the_default_config_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parent.parent / "configs/ner_reinforce.yaml"
    with pytest.raises(SystemExit, match="0"):
        main([f"--config={path}", "--print_config"])
    spelt_out = capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--print_config"])
    assert spelt_out == capsys.readouterr().out


def test_each_term_of_a_reward_is_logged(data: Path, tmp_path: Path) -> None:
    run_dir = train(data, tmp_path / "run", "--env.reward={accuracy: 1, f1: 0.5}", "--budget.passes=1")
    row = curve(run_dir)[-1]
    assert 0 <= row["reward/f1"] <= 1
    assert 0 < row["reward/accuracy"] <= 4
    assert row["rollout/ep_rew_mean"] <= 4.5


def test_the_last_model_is_kept_where_it_is_asked_for(data: Path, tmp_path: Path) -> None:
    """A price per head removes heads; by F1 alone, 0 here for any mask, the start stays best."""
    search = (
        "--algo=random_search",
        "--agent.search_space=head_mask",
        "--agent.search_space_kwargs.price=1000",
        "--agent.optimizer_kwargs.popsize=8",
        "--env.reward=f1",
        "--evaluation.every_passes=1",
    )
    found = {}
    for keep in ("best", "last"):
        given = [option for option in options(data, tmp_path / keep, *search) if "samples" not in option]
        main([*given, f"--evaluation.keep={keep}"])
        found[keep] = json.loads((tmp_path / keep / "report.json").read_text(encoding="utf-8"))
    assert found["best"]["metrics"]["test"]["heads_kept"] == 1.0
    assert found["last"]["metrics"]["test"]["heads_kept"] < 0.5
    assert found["last"]["chosen"]["timesteps"] == found["last"]["timesteps"]
    assert "the last of the run" in (tmp_path / "last" / "report.md").read_text(encoding="utf-8")
