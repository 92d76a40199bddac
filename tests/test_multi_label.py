"""Multi-label classification: texts, reward, metrics, baselines, data, every agent, a whole run."""

import contextlib
import io
import json

import gymnasium
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import AutoModelForTokenClassification

import lm_gym
from lm_gym.agents import LMPolicy, evaluate, predict
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.evaluate import main as evaluate_run
from lm_gym.agents.play import main as play
from lm_gym.agents.train import main as train
from lm_gym.builtin.headlines import headline_splits
from lm_gym.data import DataError
from lm_gym.rewards import Choices, make_reward
from lm_gym.tasks import Evaluation, MultiLabelClassification, build_task, load_data
from lm_gym.tokenizer import load_tokenizer
from tests.labelled import causal, wordpiece
from tests.small import small

ID = "lm_gym/MultiLabelClassification-v0"
RECORDS = [
    {"text": "a bs cer", "labels": ["a", "cer"]},
    {"text": "d", "labels": []},
    {"text": "e a b c d e f g", "labels": ["b"]},
    {"text": "as bs", "labels": ["a"]},
]


def task(records=RECORDS, tokenizer=None, max_length=64, **options) -> MultiLabelClassification:
    made = MultiLabelClassification.Options(**options)
    data = load_data(MultiLabelClassification, records)
    tokenizer = load_tokenizer(tokenizer or wordpiece())
    return build_task(MultiLabelClassification, data, "train", tokenizer, max_length, made)


def make(records=RECORDS, **more):
    arguments = {"num_envs": 2, "unit": "sequence", "autoreset_mode": "SameStep", "tokenizer": wordpiece(), **more}
    return gymnasium.make_vec(ID, dataset=records, **arguments)


def shown(task, text):
    """Return the tokens of a text, with brackets around those at its positions."""
    opened = task.open(np.array([text]), np.zeros(1, np.int64), 0)
    tokens = [task.tokenizer.tokenizer.id_to_token(id_) for id_ in opened.input_ids[0, : opened.lengths[0]].tolist()]
    for place in opened.positions[0]:
        tokens[place] = f"({tokens[place]})"
    return " ".join(tokens)


# ---------------------------------------------------------------------- texts


def test_labels_stand_behind_the_text_with_a_marker_each():
    made = task()
    assert shown(made, 0) == "[CLS] a b ##s c ##er [SEP] a ([MASK]) b ([MASK]) c ##er ([MASK]) [SEP]"
    assert shown(task(marker="[PAD]"), 1) == "[CLS] d [SEP] a ([PAD]) b ([PAD]) c ##er ([PAD]) [SEP]"
    assert made.shape[1:] == (3, 2)
    assert made.labels == ("a", "b", "cer")
    opened = made.open(np.arange(4), np.zeros(4, np.int64), 0)
    assert opened.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert made.target_counts.tolist() == [8, 4]


def test_a_causal_model_decides_at_the_markers():
    made = task(tokenizer=causal(), marker="<pad>")
    assert shown(made, 1) == "Ġ d <pad> Ġ a (<pad>) Ġ b (<pad>) Ġ c e r (<pad>)".replace("Ġ ", "Ġ ")


def test_pairs_and_long_texts_keep_all_labels():
    pairs = [{"text": "a b c d e f", "second": "g h", "labels": "a,b"}, {"text": "a", "second": "b", "labels": "b"}]
    assert shown(task(pairs), 0) == "[CLS] a b c d e f [SEP] g h [SEP] a ([MASK]) b ([MASK]) [SEP]"
    cut = task([{"text": "a b c d e f g h i j", "labels": ["a", "b"]}], max_length=15)
    assert shown(cut, 0) == "[CLS] a b c d e f g h [SEP] a ([MASK]) b ([MASK]) [SEP]"
    assert cut.encoded.cut == (1, 0)


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        (RECORDS, {"max_length": 17}, "3 labels need 8 sub-tokens and a text at least 8.*raise it to 18"),
        ([{"text": "a", "labels": []}], {}, "no text has a label"),
        ([{"text": "a", "label": 1, "labels": ["b", "b"]}], {}, "a label occurs twice"),
        ([{"text": "a", "labels": ["b", ""]}], {}, "a label is a non-empty string"),
        ([{"text": "a", "labels": None}], {}, r"'labels' is missing: write \[\]"),
        (
            [{"text": "a", "labels": ["x", "y"]}],
            {},
            r"'x' and 'y' have the same tokens under the tokenizer.*rename one",
        ),
        ([{"text": "a"}], {}, "labels"),
        (RECORDS, {"marker": "nope"}, "no token 'nope'"),
        (RECORDS, {"marker": "[SEP]"}, "cannot be the marker"),
        ({"train": RECORDS, "test": [{"text": "a", "labels": ["b", "up"]}]}, {}, "label 'up' is not in the training"),
    ],
)
def test_bad_input_is_refused(records, options, message):
    with pytest.raises(ValueError, match=message):
        task(records, **options)


def test_a_causal_tokenizer_without_an_end_of_text_needs_a_marker():
    with pytest.raises(ValueError, match="neither a mask nor an end-of-text token"):
        task(tokenizer=causal())


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "strings"])
def test_any_file_with_texts_and_labels(ending, tmp_path):
    rows = [{**row, "labels": "; ".join(row["labels"])} if ending != "jsonl" else row for row in RECORDS]
    path = tmp_path / f"train.{'jsonl' if ending == 'strings' else ending}"
    if ending in ("jsonl", "strings"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        import pandas

        pandas.DataFrame(RECORDS).to_parquet(path)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text("".join(mark.join(row) + "\n" for row in [("text", "labels"), *(r.values() for r in rows)]))
    env = make(str(path))
    assert env.unwrapped.task.labels == ("a", "b", "cer")
    opened = env.unwrapped.task.open(np.arange(4), np.zeros(4, np.int64), 0)
    assert opened.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]


# ---------------------------------------------------------------------- reward, metrics, baselines


def test_the_changes_of_f1_by_hand():
    reward = make_reward("label_f1").bind(Choices(2, ("no", "yes"), np.ones(2, np.int64), gold=frozenset({"set"})))
    targets = np.array([[1, 0, 1], [0, 0, 2], [0, 0, 2]])
    choices = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    # 2·1/(1 + 2), then 2·1/(2 + 2), and no change; a text without labels begins at 1 and loses it with a wrong label
    expected = [[2 / 3, 1 / 2 - 2 / 3, 0], [1, 0, 0], [1, -1, 0]]
    assert np.allclose(reward.score(choices, targets), expected)
    assert np.allclose(reward.score(np.stack([choices, choices]), targets)[1], expected)


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_the_rewards_of_a_text_sum_to_its_f1(unit):
    env = make(reward="label_f1", unit=unit, num_envs=4, sampling="sequential")
    env.reset(seed=0)
    targets = env.unwrapped.targets.copy()
    choices = np.random.default_rng(0).integers(0, 2, targets.shape)
    steps = [choices] if unit == "sequence" else choices.T
    paid = sum(env.step(actions)[1] for actions in steps)
    wanted = [f1_score(gold, said, zero_division=1.0) for gold, said in zip(targets, choices, strict=True)]
    assert np.allclose(paid, wanted)


def test_metrics_are_those_of_scikit_learn():
    made, rng = task(), np.random.default_rng(1)
    gold, said = rng.integers(0, 2, (2, 4, 3))
    played = Evaluation(
        made, np.arange(4), np.arange(5) * 3, said.ravel(), gold.ravel(), np.zeros(12, np.int64),
        target_log_probs=None, returns=np.zeros(4, np.float32),
    )  # fmt: skip
    found = played.metrics
    assert found["micro_f1"] == pytest.approx(f1_score(gold, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, said, average="macro", zero_division=0.0))
    assert found["subset_accuracy"] == (gold == said).all(1).mean()
    assert found["accuracy"] == (gold == said).mean()
    assert "cer" in str(played.reports["label"])


def test_baselines_decide_each_label():
    rows = [{"text": f"{'a' if i % 2 else 'd'} {'e' if i % 3 else 'f'} b", "labels": []} for i in range(12)]
    for i, row in enumerate(rows):
        row["labels"] = ["c"] * (i % 2) + ["e"] * bool(i % 3)
    env = make({"train": rows, "test": rows}, split="test", num_envs=4)
    found = {row.name: evaluate(row.make(env.unwrapped.task), env.unwrapped) for row in env.unwrapped.task.baselines}
    assert found["tfidf"].metrics["subset_accuracy"] == 1.0
    assert found["majority"].choices.reshape(-1, 2).tolist() == [[0, 1]] * 12
    assert found["majority"].metrics["cross_entropy"] > found["tfidf"].metrics["cross_entropy"]
    constant = [{"text": "a", "labels": ["a"]}, {"text": "b", "labels": ["a"]}]
    env = make(constant)
    every = {row.name: evaluate(row.make(env.unwrapped.task), env.unwrapped) for row in env.unwrapped.task.baselines}
    assert every["tfidf"].choices.tolist() == [1, 1]


# ---------------------------------------------------------------------- builtin data


def test_a_headline_has_the_labels_of_its_news():
    for rows in headline_splits().values():
        assert {label for row in rows for label in row["labels"]} >= {"good", "bad", "law"}
        for row in rows:
            good, bad = "good" in row["labels"], "bad" in row["labels"]
            assert bad or row["sentiment"] != "negative"
            assert good or row["sentiment"] != "positive"
            assert row["topic"] in row["labels"] or row["sentiment"] == "neutral"
            assert bool(row["labels"]) == (good or bad)


# ---------------------------------------------------------------------- agents


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns(algorithm, tmp_path):
    kind = ALGORITHMS[algorithm]
    reward = "label_f1" if algorithm in ("reinforce", "ppo", "es") else "accuracy"
    env = make(num_envs=2 * kind.env_arguments.get("group_size", 1), reward=reward, **kind.env_arguments)
    more = {"n_steps": 3} if algorithm == "ppo" else {}
    model = kind("LMPolicy", env, policy_kwargs=small(env), seed=0, **more)
    model.learn(6)
    assert evaluate(model.policy, make()).metrics.keys() >= {"micro_f1", "macro_f1", "subset_accuracy", "accuracy"}


def test_an_agent_refuses_as_many_other_labels():
    agent = ALGORITHMS["supervised"]("LMPolicy", make(), policy_kwargs=small(make()), seed=0, device="cpu")
    agent.set_env(make())
    other = make([{**row, "labels": ["bs" if label == "cer" else label for label in row["labels"]]} for row in RECORDS])
    for go_on in (agent.set_env, lambda env: evaluate(agent.policy, env)):
        with pytest.raises(
            ValueError, match=r"the agent has labels=\['a', 'b', 'cer'\], but .* has \['a', 'b', 'bs'\]"
        ):
            go_on(other)


@pytest.mark.parametrize("algorithm", ["supervised", "reinforce"])
def test_decisions_are_learned(algorithm):
    rows = [{"text": "a" if i % 2 else "d", "labels": ["a"] if i % 2 else ["d", "e"]} for i in range(16)]
    env = make(rows, num_envs=16, reward="accuracy")
    model = {**small(env)["model"], "hidden_size": 32, "num_hidden_layers": 2}
    samples = {"samples": 4} if algorithm == "reinforce" else {}
    agent = ALGORITHMS[algorithm](
        "LMPolicy", env, 3e-3, policy_kwargs={"model": model, "dropout": 0.0}, seed=0, device="cpu", **samples
    )
    agent.learn(16 * 3 * samples.get("samples", 1) * 60)
    assert evaluate(agent.policy, make(rows)).metrics["subset_accuracy"] == 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topics")
    rows = [{"text": f"{word} number {i} was fine", "labels": [word]} for i in range(6) for word in ("ships", "trains")]
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--env.id", ID, "--env.dataset", str(folder / "said.jsonl"), "--env.num_envs", "4"]
    arguments += ["--data.max_overlap", "1", "--budget.passes", "1", "--algo", "supervised", "--device", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()):
        train([*arguments, "--run_dir", str(folder / "run")])
    return folder / "run"


def test_a_run_is_evaluated_played_and_predicts(run, capsys, tmp_path):
    evaluate_run([str(run), "--split", "validation", "--predictions", str(tmp_path / "said.jsonl")])
    shown = capsys.readouterr().out
    assert "Report by label" in shown
    line = json.loads((tmp_path / "said.jsonl").read_text().splitlines()[0])
    assert line.keys() == {"text", "gold", "predicted"}
    play([str(run), "--split", "validation", "--texts", "1", "--html", str(tmp_path / "page.html")])
    assert "trains" in (tmp_path / "page.html").read_text()
    said = predict(run, ["ships and trains", {"text": "none", "id": 3}])
    assert said[1]["id"] == 3
    assert said[0]["probability"].keys() == {"ships", "trains"}
    for each in said:
        assert each["predicted"] == [name for name, p in each["probability"].items() if p > 0.5]


def test_the_card_of_a_checkpoint_shows_how_to_use_it(run):
    card = (run / "best" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("FOLDER", str(run / "best")).replace("…", "ships and trains")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "card", "exec"), {})
    found = predict(run, ["ships and trains"])[0]["probability"]
    assert eval(printed.getvalue()) == pytest.approx(found, abs=1e-3)


def test_a_checkpoint_is_a_plain_token_classifier(tmp_path):
    env = make()
    policy = LMPolicy(
        env.single_observation_space, env.single_action_space, lambda _: 1e-3,
        **env.unwrapped.task.policy_arguments, **small(env),
    )  # fmt: skip
    policy.save_pretrained(tmp_path)
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert plain.config.id2label == {0: "no", 1: "yes"}
    assert MultiLabelClassification.labels_of(plain.config.to_dict()) == ["a", "b", "cer"]
    policy.set_training_mode(False)
    obs, _ = env.reset(seed=0)
    with torch.no_grad():
        ours = policy.positions(policy.obs_to_tensor(obs)[0])
        mask = torch.tensor(obs["attention_mask"])
        theirs = plain.eval()(torch.tensor(obs["input_ids"]), attention_mask=mask).logits.log_softmax(-1)
    rows, columns = ours.rows, torch.tensor(obs["positions"])[ours.rows, ours.slots]
    assert torch.allclose(ours.log_probs, theirs[rows, columns], atol=1e-5)


def test_a_model_that_lacks_a_label_is_refused(run, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "a b", "labels": ["planes"]}\n')
    with pytest.raises(SystemExit, match="2"):
        evaluate_run([str(run), "--split", "train", "--env.dataset", str(other)])
    assert "planes" in capsys.readouterr().err


def test_the_task_is_registered():
    assert lm_gym.TASKS["multi_label"] is MultiLabelClassification
    with pytest.raises(DataError, match="labels"):
        load_data(MultiLabelClassification, [{"text": "a b"}])
