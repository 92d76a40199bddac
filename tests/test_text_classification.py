"""Text classification: templates, label words, heads, costs, metrics, the builtin headlines, data by path."""

import contextlib
import hashlib
import io
import json
import re
from collections import Counter

import gymnasium
import numpy as np
import pytest
import torch
from policies import ARCHITECTURES, OTHERS, SIZES, make, observe
from sklearn.metrics import confusion_matrix as confusion_of_sklearn
from sklearn.metrics import matthews_corrcoef
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedTokenizerFast

import lm_gym
from lm_gym.agents import LMPolicy, evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.evaluation.playing import baselines
from lm_gym.agents.model.heads import auto_class
from lm_gym.agents.model.label_words import LabelWordHead
from lm_gym.agents.model.loading import load_model
from lm_gym.builtin.headlines import AMOUNTS, SENTIMENTS, SUBJECTS, HeadlineMaker, headline_splits, templates
from lm_gym.builtin.names import SPLITS
from lm_gym.costs import Costs
from lm_gym.data import DataError
from lm_gym.metrics import calibration_error, confusion_matrix, confusion_report, matthews
from lm_gym.tasks import TextClassification, build_task
from lm_gym.tokenizer import load_tokenizer
from tests.small import small
from tests.test_tasks import wordpiece

ID = "lm_gym/TextClassification-v0"
TEXTS = [("a bs cer", "up"), ("d", "down"), ("e a b c d e f g", "up"), ("as bs", "down")]
WORDS = {"down": "c", "up": ["a", "d e"]}
TEMPLATE = "f {text} g {mask}."
HEADLINES_SHA256 = "46df1084fe3baf02bb7ab9689580d8550488a57b84beed75bb43b3ba08f4038c"


def dataset(records=TEXTS, **more) -> lm_gym.Dataset:
    rows = [dict(zip(("text", "label", "second"), record, strict=False)) for record in records]
    return lm_gym.load_dataset(rows, fields=TextClassification.fields, **more)


def task(records=TEXTS, tokenizer=None, max_length=64, **options) -> TextClassification:
    made = TextClassification.Options(**options)
    return build_task(
        TextClassification, dataset(records), "train", load_tokenizer(tokenizer or wordpiece()), max_length, made
    )


def causal() -> Tokenizer:
    """Make a tokenizer of single bytes without a mask token and special tokens around texts, like those of decoders."""
    alphabet = ["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>"])
    return tokenizer


def shown(task: TextClassification, text: int) -> list[str]:
    """Return the tokens of a text, with brackets around the one at the position."""
    opened = task.open(np.array([text]), np.zeros(1, np.int64), 0)
    tokens = [task.tokenizer.tokenizer.id_to_token(id_) for id_ in opened.input_ids[0, : opened.lengths[0]].tolist()]
    tokens[opened.positions[0, 0]] = f"({tokens[opened.positions[0, 0]]})"
    return tokens


# ---------------------------------------------------------------------- texts and templates


@pytest.mark.parametrize(
    ("record", "options", "tokens"),
    [
        (("a bs", "up"), {}, "([CLS]) a b ##s [SEP]"),
        (("a bs", "up"), {"template": "f {text} g"}, "([CLS]) f a b ##s g [SEP]"),
        (("a bs", "up"), {"template": TEMPLATE, "label_words": WORDS}, "[CLS] f a b ##s g ([MASK]) [UNK] [SEP]"),
        (("a bs", "up"), {"template": "{mask} {text}", "label_words": WORDS}, "[CLS] ([MASK]) a b ##s [SEP]"),
        (("a bs", "up", "cer"), {}, "([CLS]) a b ##s [SEP] c ##er [SEP]"),
        (("a bs", "up", "cer"), {"template": "{second} d {text}"}, "([CLS]) c ##er d a b ##s [SEP]"),
    ],
)
def test_what_a_model_reads(record, options, tokens):
    other = ("b", "down", "b")[: len(record)]
    assert " ".join(shown(task([record, other], **options), 0)) == tokens


def test_a_causal_model_answers_at_the_end():
    options = {"template": "x: {text}\ny:", "label_words": {"up": "a", "down": "b"}}
    made = task(tokenizer=causal(), **options)
    assert "".join(shown(made, 1)) == "Ġx:ĠdĊy(:)"
    assert "".join(shown(task(tokenizer=causal()), 1)) == "Ġ(d)"


@pytest.mark.parametrize(
    ("max_length", "kept"),
    [(64, (6, 2)), (9, (4, 2)), (8, (3, 2)), (6, (2, 1)), (5, (1, 1))],
)
def test_long_pairs_lose_the_end_of_the_longer_text(max_length, kept):
    made = task([("a b c d e f", "up", "g h"), ("a", "down", "b")], max_length=max_length)
    tokens = " ".join(shown(made, 0))
    first, second = [["a", "b", "c", "d", "e", "f"][: kept[0]], ["g", "h"][: kept[1]]]
    assert tokens == " ".join(["([CLS])", *first, "[SEP]", *second, "[SEP]"])
    assert made.encoded.cut == (int(max_length < 64), 0)


def test_every_text_is_one_decision():
    made = task()
    opened = made.open(np.arange(4), np.zeros(4, np.int64), 0)
    assert made.shape == (10, 1, 2)
    assert opened.counts.tolist() == [1] * 4
    assert opened.targets[:, 0].tolist() == [1, 0, 1, 0]
    assert made.target_counts.tolist() == [2, 2]
    assert made.choice_names == ("down", "up")


BAD = [
    ({"template": "f g"}, r"has no \{text\}"),
    ({"template": "{text} {words}"}, r"no placeholder \{words\}.*there are mask, text"),
    ({"template": "{text} {text}"}, r"\{text\} occurs twice"),
    ({"template": "{text} {second}"}, r"no placeholder \{second\}"),
    ({"template": "{text"}, r"write \{\{ and \}\}"),
    ({"template": "{text} {mask}"}, "give the label_words"),
    ({"template": "{text} f", "label_words": WORDS}, r"has no \{mask\}"),
    ({"label_words": WORDS}, "need a template"),
    ({"calibrate": True}, "give label_words"),
    ({"template": TEMPLATE, "label_words": {"up": "a"}}, "no word for down"),
    ({"template": TEMPLATE, "label_words": {**WORDS, "dwn": "a"}}, r"no label 'dwn' \(did you mean 'down'\?\)"),
    ({"template": TEMPLATE, "label_words": {"up": "a", "down": ["b", "a"]}}, "'a' stands for 'down' and for 'up'"),
    ({"template": TEMPLATE, "label_words": {"up": "a", "down": "?"}}, r"does not know '\?'"),
    ({"label_words": "up"}, "label_words='up' is not a mapping"),
    ({"costs": {"up": {"dwn": 2.0}}}, r"no choice 'dwn' \(did you mean 'down'\?\)"),
    ({"costs": {"up": {"down": -2.0}}}, "is -2.0: give a finite number, 0 or more"),
    ({"costs": {"up": 2.0}}, "name the choice made"),
    ({"max_length": 4, "template": "f f {text}"}, "max_length=4 leaves no room next to the template: give at least 5"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_a_mask_that_the_tokenizer_has_not():
    with pytest.raises(ValueError, match=r"has no mask token: leave {mask} out"):
        task(tokenizer=causal(), template=TEMPLATE, label_words=WORDS)


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize("columns", [("text", "label"), ("sentence", "class"), ("headline", "sentiment")])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_any_file_with_a_text_and_a_label(ending, columns, tmp_path):
    rows = [dict(zip(columns, record, strict=True)) for record in TEXTS]
    path = tmp_path / f"train.{ending}"
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text("".join(mark.join(row) + "\n" for row in [columns, *TEXTS]))
    env = gymnasium.make(ID, dataset=str(path), tokenizer=wordpiece())
    assert env.unwrapped.task.choice_names == ("down", "up")
    assert env.unwrapped.num_texts == 4


def test_pairs_by_their_usual_names(tmp_path):
    path = tmp_path / "train.jsonl"
    pairs = [{"sentence1": "a", "sentence2": "b c", "label": 1}, {"sentence1": "d", "sentence2": "e", "label": 0}]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    env = gymnasium.make(ID, dataset=str(path), tokenizer=wordpiece())
    assert " ".join(shown(env.unwrapped.task, 0)) == "([CLS]) a [SEP] b c [SEP]"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": TEXTS, "test": [("a", "sideways")]}, "label 'sideways' is not in the training split"),
        ({"train": [("a", "up"), ("b", "up")]}, "all texts have the label up: at least two are needed"),
    ],
)
def test_data_that_cannot_be_played(splits, message):
    rows = {split: [{"text": t, "label": y} for t, y in records] for split, records in splits.items()}
    with pytest.raises(DataError, match=message):
        gymnasium.make(ID, dataset=rows, tokenizer=wordpiece())


def test_texts_without_words_are_left_out_and_counted():
    data = dataset([*TEXTS[:2], (" ", "up"), TEXTS[2]])
    assert data["train"].columns["label"].values.tolist() == [1, 0, 1]
    assert "1 of 4 rows have no words" in data.notes[0]


def test_data_of_another_task_names_its_environment():
    tagged = [{"text": "a b c", "tags": "O B-X O"}]
    with pytest.raises(DataError, match="use lm_gym/NER-v0"):
        gymnasium.make(ID, dataset=tagged)
    with pytest.raises(DataError, match="use lm_gym/TextClassification-v0"):
        gymnasium.make("lm_gym/NER-v0", dataset=[{"text": "a b c", "label": "up"}])


# ---------------------------------------------------------------------- costs, metrics, baselines


def test_costs_by_hand():
    costs = Costs({"b": {"a": 5.0, "b": 0.5}}, ("a", "b", "c"))
    gold, chosen = np.array([[0, 0], [1, 1], [1, 2]]), np.array([[0, 1], [0, 1], [2, 0]])
    assert costs(gold, chosen).tolist() == [[0, 1], [5, 0.5], [1, 1]]
    assert costs.largest == 5.0


def test_the_reward_takes_the_costs_of_the_task_or_its_own():
    make = {"id": ID, "dataset": dataset(), "tokenizer": wordpiece(), "reward": "cost", "unit": "sequence"}
    costs = {"up": {"down": 4.0}}
    for more in ({"costs": costs}, {"reward_kwargs": {"costs": costs}}):
        env = gymnasium.make(**make, **more).unwrapped
        env.reset(options={"indices": 0})
        assert [float(env.position_rewards(np.array([[choice]]))[0, 0]) for choice in (0, 1)] == [-4.0, 0.0]
        assert env.reward.minimum == -4.0
    with pytest.raises(ValueError, match="no choice 'dwn'"):
        gymnasium.make(**make, reward_kwargs={"costs": {"up": {"dwn": 1.0}}})


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


def test_rows_to_beat():
    builtin = lm_gym.load_dataset("builtin/headlines", fields=TextClassification.fields, train_texts=600)
    env = gymnasium.make_vec(ID, num_envs=64, dataset=builtin, split="validation", unit="sequence")
    rows = baselines(env)
    assert list(rows) == ["random", "majority", "tfidf"]
    assert all(rows[name]["accuracy"] < 0.7 for name in rows)
    assert rows["tfidf"]["accuracy"] > rows["majority"]["accuracy"] + 0.05
    assert rows["tfidf"]["calibration_error"] < 0.3
    assert "calibration_error" not in rows["random"]
    assert rows["tfidf"]["expected_cost"] == pytest.approx(1 - rows["tfidf"]["accuracy"])


# ---------------------------------------------------------------------- heads


@pytest.mark.parametrize("architecture", {**ARCHITECTURES, **OTHERS})
def test_a_text_classifier_says_what_plain_transformers_says(architecture):
    if architecture in ("albert", "funnel"):  # heads that read other states than the last of the first or last token
        with pytest.raises(ValueError, match="cannot run without its encoder"):
            make(3, architecture=architecture, head="text_labels")
        return
    policy = make(3, architecture=architecture, head="text_labels", labels=["a", "b", "c"]).eval()
    for parameter in policy.parameters():
        parameter.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    obs, _ = policy.obs_to_tensor(observe())
    ids, mask = obs["input_ids"], obs["attention_mask"].long()
    ids[mask == 0] = policy.network.config.pad_token_id or 0  # decoders use it to find the last token
    rows, ends = torch.arange(3), mask.sum(1) - 1
    with torch.no_grad():
        whole = policy.network(input_ids=ids, attention_mask=mask).logits
        ours = [policy.language_model(ids, mask, rows, places)[0] for places in (0 * ends, ends)]
    assert sum(torch.allclose(logits, whole, atol=1e-5) for logits in ours) == 1


def test_a_pooler_that_a_language_model_lacks_begins_as_tanh(tmp_path):
    network = load_model("tiny", "text_labels", labels=["a", "b"])
    states = torch.randn(3, 1, 128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network.base_model.pooler(states), states[:, 0].tanh())
    network.base_model.pooler.dense.weight.data.mul_(2)
    network.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), "text_labels", labels=["b", "a"])
    assert torch.equal(again.base_model.pooler.dense.weight, network.base_model.pooler.dense.weight)
    assert torch.equal(again.classifier.weight, network.classifier.weight[[1, 0]])


def envs(num_envs=4, **options):
    more = {"dataset": dataset(), "tokenizer": wordpiece(), "unit": "sequence", "autoreset_mode": "SameStep"}
    return gymnasium.make_vec(ID, num_envs=num_envs, **{**more, **options})


@pytest.mark.parametrize("space", ["head", "lora", "bias", "full"])
@pytest.mark.parametrize("options", [{}, {"template": TEMPLATE, "label_words": WORDS}], ids=["head", "words"])
def test_members_of_a_population_are_evaluated_together(space, options):
    if options and space == "head":
        space = "bias"  # the head of a language model covers its vocabulary
    env = envs(**options)
    model = ALGORITHMS["es"]("LMPolicy", env, policy_kwargs=small(env), search_space=space, seed=0)
    model.learn(8)  # a space that evaluated members one after another would warn
    assert np.isfinite(evaluate(model.policy, envs(**options)).metrics["cross_entropy"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns(algorithm):
    kind = ALGORITHMS[algorithm]
    env = envs(4 * kind.env_arguments.get("group_size", 1), **kind.env_arguments)
    before = small(env)
    model = kind("LMPolicy", env, policy_kwargs=before, seed=0, **({"n_steps": 2} if algorithm == "ppo" else {}))
    model.learn(8)
    assert evaluate(model.policy, envs()).metrics.keys() >= {
        "accuracy",
        "macro_f1",
        "expected_cost",
        "calibration_error",
    }


def checkpoint(folder, tokenizer: Tokenizer, **config) -> str:
    """Save a language model with random weights and its tokenizer."""
    special = {f"{name}_token": token for name, token in (("mask", "[MASK]"), ("unk", "[UNK]"), ("pad", "[PAD]"))}
    own = {key: token for key, token in special.items() if tokenizer.token_to_id(token) is not None}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **own).save_pretrained(folder)
    made = AutoConfig.for_model(vocab_size=tokenizer.get_vocab_size(), initializer_range=0.2, **config)
    auto_class(made, "vocabulary").from_config(made).save_pretrained(folder)
    return str(folder)


MASKED = {"model_type": "bert", **SIZES}
CAUSAL = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
LANGUAGE_MODELS = {
    "masked": (wordpiece, MASKED, {"template": TEMPLATE, "label_words": WORDS, "calibrate": True}),
    "causal": (causal, CAUSAL, {"template": "x: {text}\ny:", "label_words": {"up": ["a", "bc"], "down": "d"}}),
}


def worded(kind, folder, **more):
    """Return a policy with label words, its environment, and one text."""
    tokenizer, config, options = LANGUAGE_MODELS[kind]
    path = checkpoint(folder / "model", tokenizer(), **config)
    env = envs(1, tokenizer=f"{path}/tokenizer.json", **{**options, **more})
    policy = LMPolicy(
        env.single_observation_space, env.single_action_space, lambda _: 0.0, model=path, **env.task.policy_arguments
    )
    return policy.eval(), env


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_the_readme_of_a_checkpoint_reads_its_label_words(kind, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        policy, env = worded(kind, tmp_path)
    obs, _ = env.reset(options={"indices": [0]})
    with torch.no_grad():
        ours = policy.positions(policy.obs_to_tensor(obs)[0]).log_probs.exp()[0].tolist()
    policy.save_pretrained(tmp_path / "best")
    readme = (tmp_path / "best" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    code = code.replace('folder = "."', f"folder = {str(tmp_path / 'best')!r}").replace("…", TEXTS[0][0])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    theirs = eval(out.getvalue())
    assert list(theirs) == ["down", "up"]
    assert list(theirs.values()) == pytest.approx(ours, abs=1e-5)
    assert abs(ours[0] - 0.5) > 0.01


def test_label_words_score_by_the_mean_of_their_tokens():
    head = LabelWordHead([[[1]], [[2], [3, 4]]], prior=[0.5, 0.0])
    logits = torch.tensor([[9.0, 1.0, 2.0, 4.0, 6.0]])
    assert head(logits).tolist() == [[0.5, (2.0 + (4.0 + 6.0) / 2) / 2]]


def test_calibration_is_measured_once(tmp_path):
    policy, env = worded("masked", tmp_path)
    prior = policy.language_model.label_words.prior
    texts = env.task.policy_arguments["label_words"]["content_free"]
    assert [[env.task.tokenizer.tokenizer.id_to_token(id_) for id_ in text] for text in texts] == [
        ["[CLS]", "f", "[UNK]", "[UNK]", "a", "g", "[MASK]", "[UNK]", "[SEP]"],
        ["[CLS]", "f", "[MASK]", "g", "[MASK]", "[UNK]", "[SEP]"],
        ["[CLS]", "f", "g", "[MASK]", "[UNK]", "[SEP]"],
    ]
    bare, _ = worded("masked", tmp_path / "bare", calibrate=False)
    assert bare.language_model.label_words.prior.tolist() == [0.0, 0.0]
    assert float(prior.exp().sum()) == pytest.approx(1.0)
    assert prior.std() > 0.001
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.mul_(1.5)
    policy.save_pretrained(tmp_path / "best")
    again = LMPolicy(
        env.single_observation_space,
        env.single_action_space,
        lambda _: 0.0,
        model=str(tmp_path / "best"),
        **env.task.policy_arguments,
    )
    assert torch.equal(again.language_model.label_words.prior, prior)
    with pytest.raises(ValueError, match="give both or neither"):
        LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, head="label_words")


# ---------------------------------------------------------------------- builtin headlines


@pytest.fixture(scope="module")
def headlines():
    return headline_splits()


def test_the_headlines_are_unchanged(headlines):
    assert hashlib.sha256(json.dumps(headlines).encode()).hexdigest() == HEADLINES_SHA256
    assert {split: len(rows) for split, rows in headlines.items()} == {"train": 8000, "validation": 500, "test": 500}


def test_labels_are_balanced(headlines):
    for rows in headlines.values():
        for key, kinds in (("sentiment", SENTIMENTS), ("topic", SUBJECTS)):
            counts = Counter(row[key] for row in rows)
            assert set(counts) == set(kinds)
            assert min(counts.values()) > 0.9 * len(rows) / len(kinds)


PAIRS = [("train", "validation"), ("train", "test"), ("validation", "test")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_template_and_no_company(one, other):
    lines, companies = (
        [set(made(split)) for split in (one, other)]
        for made in (
            lambda split: [line for kind, found in templates(split).items() if kind != "joined" for line in found],
            lambda split: HeadlineMaker(split).companies,
        )
    )
    for first, second in (lines, companies):
        assert min(len(first), len(second)) >= 15
        assert not first & second


@pytest.mark.parametrize("split", SPLITS)
def test_splits_share_no_pattern_of_a_number(split, headlines):
    patterns = {
        of: "|".join(
            rf"(?<!\S){re.escape(pattern.format(a='@', b='@')).replace('@', '[0-9]+')}(?!\S)" for pattern in found
        )
        for of, found in AMOUNTS.items()
    }
    for row in headlines[split]:
        assert not re.search(r"\d", re.sub(patterns[split], "", row["text"])), row
        assert not any(re.search(patterns[other], row["text"]) for other in SPLITS if other != split), row
