"""Policies that classify texts: the heads of transformers, label words, populations, every algorithm."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from policies import ARCHITECTURES, OTHERS, SIZES, make, observe
from tokenizers import Tokenizer
from transformers import AutoConfig, PreTrainedTokenizerFast

from lm_gym.agents import LMPolicy, evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.model.heads import auto_class
from lm_gym.agents.model.label_words import LabelWordHead
from lm_gym.agents.model.loading import load_model
from tests.labelled import TEMPLATE, TEXTS, WORDS, causal, envs
from tests.small import small
from tests.test_tasks import wordpiece


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
