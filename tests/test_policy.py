"""LMPolicy over several architectures: the head at positions only, both units, both action forms, checkpoints."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch as th
import transformers
from gymnasium import spaces
from policies import ARCHITECTURES, TAGS, N, T, V, config, make, observe
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForTokenClassification

from lm_gym.agents.model.adamw import GroupedAdamW, parameter_groups
from lm_gym.agents.model.freezing import freeze_parameters
from lm_gym.agents.model.loading import load_model
from lm_gym.agents.model.packed import entropy
from lm_gym.agents.model.policy import LMPolicy


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(), th.random.fork_rng():
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


@pytest.mark.parametrize(("architecture", "n"), [*product(ARCHITECTURES, (V, len(TAGS))), ("gpt2", len(TAGS))])
def test_head_at_positions_equals_the_whole_model(architecture, n):
    policy = make(n, architecture=architecture)
    policy.set_training_mode(False)
    obs, _ = policy.obs_to_tensor(observe())
    with th.no_grad():
        packed = policy.positions(obs)
        whole = policy.network(input_ids=obs["input_ids"], attention_mask=obs["attention_mask"].long()).logits
    places = obs["positions"][packed.rows, packed.slots]
    assert packed.log_probs.shape == (5 + 2 + 4, n)
    assert th.allclose(packed.log_probs, whole[packed.rows, places].log_softmax(-1), atol=1e-5)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2"])
def test_encoder_and_head_are_two_halves_of_the_model(architecture):
    model = make(len(TAGS), architecture=architecture).language_model.eval()
    obs = {key: th.as_tensor(value) for key, value in observe().items()}
    rows, slots = obs["position_mask"].bool().nonzero(as_tuple=True)
    where = (obs["input_ids"], obs["attention_mask"].long(), rows, obs["positions"][rows, slots])
    logits, hidden = model(*where)
    assert th.equal(model.encode(*where), hidden)
    assert th.equal(model.head(hidden), logits)
    assert th.allclose(model.head(hidden[3:5]), logits[3:5], atol=1e-6)
    assert "forward" not in vars(model.network.base_model)  # the encoder itself is called again
    with pytest.raises(RuntimeError):
        model.head(hidden[:, 1:])
    assert th.equal(model(*where)[0], logits)


def test_head_never_sees_the_whole_batch():
    policy, seen = make(), []
    policy.network.cls.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    policy.predict(observe())
    assert seen == [(1, 11, V)]


def test_token_unit_decides_at_the_cursor():
    policy = make(len(TAGS), "token")
    whole = make(len(TAGS))
    obs = observe([4, 1, 0])
    actions, _ = policy.predict(obs, deterministic=True)
    assert np.array_equal(actions, whole.predict(observe(), deterministic=True)[0][[0, 1, 2], [4, 1, 0]])
    tensors, _ = policy.obs_to_tensor(obs)
    chosen, values, log_prob = policy.forward(tensors, deterministic=True)
    assert chosen.shape == (N,)
    assert values.shape == (N, 1)
    assert log_prob.shape == (N,)


def test_evaluate_actions_agrees_with_forward_and_padding_counts_nothing():
    policy = make(len(TAGS))
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(observe())
    actions, values, log_prob = policy.forward(tensors)
    again, same, entropies = policy.evaluate_actions(tensors, actions)
    assert th.allclose(values, again)
    assert th.allclose(log_prob, same, atol=1e-6)
    other = actions.clone()
    other[1, 2:] = 2  # padding
    assert th.allclose(policy.evaluate_actions(tensors, other)[1], log_prob, atol=1e-6)
    packed = policy.positions(tensors)
    assert entropies.sum().item() == pytest.approx(entropy(packed.log_probs).sum().item(), rel=1e-5)


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_distribution_actions_are_log_probabilities(unit):
    policy = make(len(TAGS), unit, distribution=True)
    obs = observe([0, 1, 2] if unit == "token" else None)
    actions, _ = policy.predict(obs, deterministic=True)
    assert actions.shape == ((N, 3) if unit == "token" else (N, T, 3))
    decided = np.ones(N, bool) if unit == "token" else obs["position_mask"].astype(bool)
    assert np.allclose(np.exp(actions[decided]).sum(-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match='actions="token"'):
        policy.forward(policy.obs_to_tensor(obs)[0])


def test_single_observation_gets_a_single_action():
    policy = make(len(TAGS))
    action, _ = policy.predict({key: value[0] for key, value in observe().items()})
    assert action.shape == (T,)


def test_the_critic_does_not_bend_the_language_model():
    policy = make(len(TAGS))
    packed = policy.positions(policy.obs_to_tensor(observe())[0])
    policy.values(packed).sum().backward()
    assert all(p.grad is None for p in policy.network.parameters())
    assert policy.value_net.bias.grad is not None


def test_half_precision_checkpoints_load_to_float32(tmp_path):
    AutoModelForMaskedLM.from_config(AutoConfig.for_model(**config())).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_model(str(tmp_path), "vocabulary").parameters()} == {th.float32}
    assert {p.dtype for p in load_model(str(tmp_path), "vocabulary", dtype="bfloat16").parameters()} == {th.bfloat16}


def test_an_encoder_without_a_masked_lm_head_says_so(tmp_path):
    encoder = transformers.AutoModel.from_config(AutoConfig.for_model(**config()))
    encoder.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="no trained vocabulary head"):
        network = load_model(str(tmp_path), "vocabulary")
    assert network.cls.predictions.decoder.weight is network.bert.embeddings.word_embeddings.weight


def test_labels_are_written_and_another_order_is_mended(tmp_path):
    policy = make(len(TAGS), labels=TAGS)
    policy.network.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == dict(enumerate(TAGS))
    turned = make(len(TAGS), labels=TAGS[::-1], model=str(tmp_path))
    tensors, _ = policy.obs_to_tensor(observe())
    policy.set_training_mode(False)
    turned.set_training_mode(False)
    here, there = policy.positions(tensors).log_probs, turned.positions(tensors).log_probs
    assert th.allclose(here, there.flip(-1), atol=1e-6)


def test_head_learns_faster_and_frozen_parameters_stay():
    policy = make(len(TAGS), freeze=("*embeddings*",), head_lr_scale=7.0)
    assert not policy.network.bert.embeddings.word_embeddings.weight.requires_grad
    scales = {id(p): group["lr_scale"] for group in policy.optimizer.param_groups for p in group["params"]}
    assert {scales[id(p)] for p in policy.network.classifier.parameters()} == {7.0}
    assert scales[id(next(policy.network.bert.encoder.parameters()))] == 1.0
    assert id(policy.network.bert.embeddings.word_embeddings.weight) not in scales


def test_grouped_adamw_scales_the_step():
    slow, fast = th.nn.Parameter(th.zeros(1)), th.nn.Parameter(th.zeros(1))
    optimizer = GroupedAdamW([{"params": [slow]}, {"params": [fast], "lr_scale": 3.0}], lr=0.1, weight_decay=0.0)
    (slow + fast).backward()
    optimizer.step()
    assert fast.item() == pytest.approx(3 * slow.item())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_parameter_groups_hold_every_parameter_once():
    network = th.nn.Sequential(th.nn.Linear(2, 3), th.nn.LayerNorm(3), th.nn.Linear(3, 1))
    groups = parameter_groups(network, [network[2]], head_lr_scale=2.0, weight_decay=0.5)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in network.parameters())
    assert all((group["weight_decay"] > 0) == (p.dim() > 1) for group in groups for p in group["params"])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model at '.*nowhere'"):
        make(model=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="tokenizer has 50 entries, but model 'bert' has 60"):
        make(model={**config(), "vocab_size": 60})
    with pytest.raises(ValueError, match="model 'bert' reads at most 8"):
        make(model={**config(), "max_position_embeddings": 8})
    with pytest.raises(ValueError, match="2 labels for 3 choices"):
        make(len(TAGS), labels=("O", "B-PER"))
    with pytest.raises(ValueError, match=r"freeze pattern '\*embedings\*' matches no parameter"):
        make(freeze=("*embedings*",))
    with pytest.raises(ValueError, match="leave nothing to train"):
        freeze_parameters(th.nn.Linear(2, 2), ["*"])
    with pytest.raises(ValueError, match="unknown dtype='float8'"):
        make(dtype="float8")
    with pytest.raises(ValueError, match="lm_gym's Dict observations"):
        LMPolicy(spaces.Box(0, 1, (3,)), spaces.Discrete(3), lambda _: 1e-3, model=config())
