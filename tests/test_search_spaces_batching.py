"""The batched forward pass is verified when a space is built; members that cannot be batched are evaluated alone."""

import copy
import pickle
import warnings

import pytest
import torch as th
from policies import ARCHITECTURES, OTHERS, TAGS, V, make, observe
from test_search_spaces import PARAMETERS, build, same, say, vectors, weights
from torch import nn

from lm_gym.agents.search.population.modules import FORWARDS, layer_norm
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.spaces import SEARCH_SPACES

pytestmark = pytest.mark.filterwarnings("ignore:.* reads padding")


@pytest.fixture
def obs():
    return {key: th.as_tensor(value) for key, value in observe().items()}


def tell(name, policy, **options):
    """Build a space and return it with its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        space = build(name, policy, **options)
    return space, " ".join(str(warning.message) for warning in said)


@pytest.mark.parametrize(("n", "name"), [*((V, name) for name in PARAMETERS), *((3, name) for name in SEARCH_SPACES)])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *OTHERS])
def test_whatever_is_built_equals_each_member_written(architecture, n, name, obs):
    policy = make(n, architecture=architecture)
    try:
        space, refusal = tell(name, policy)[0], None
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        named = (type(policy.network).__name__, "finds no parameter", "match no linear module; there are")
        assert any(part in refusal for part in named)
        return
    members, before = vectors(space, 3), weights(policy)
    together = th.cat([log_probs for _, log_probs in space.evaluate(obs, Dense(members), 1000)])
    assert same(before, weights(policy))
    for member, expected in zip(members, together, strict=True):
        space.write(member)
        assert th.allclose(say(policy, obs), expected, atol=1e-4)
    if space.blocks and name in PARAMETERS:
        population = Perturbed(space.tensors(), space.blocks, Noise(0, 0), sigma=1.0, size=2)
        pair = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 1000)])
        for member in range(2):
            with space.materialised(population, member):
                assert th.allclose(say(policy, obs), pair[member], atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "name", "culprit"),
    [
        ("deberta-v2", "full", r"attention.self.pos_key_proj.weight \(Linear of DisentangledSelfAttention\)"),
        ("deberta-v2", "bias", r"attention.self.pos_key_proj.bias \(Linear of DisentangledSelfAttention\)"),
        ("deberta-v2", "lora", r"attention.self.(pos_)?query_proj.weight \(Linear of DisentangledSelfAttention\)"),
        ("mpnet", "full", r"relative_attention_bias.weight \(Embedding of MPNetEncoder\)"),
        ("gemma", "full", r"embed_tokens.weight \(GemmaTextScaledWordEmbedding of GemmaModel\)"),
        ("mixtral", "full", r"mlp.gate.weight \(MixtralTopKRouter of MixtralSparseMoeBlock\)"),
    ],
)
def test_what_cannot_be_batched_is_named(architecture, name, culprit):
    with pytest.warns(UserWarning, match=rf"evaluates members one after another, slowly: \S*{culprit}"):
        build(name, make(len(TAGS), architecture=architecture))


@pytest.mark.parametrize("name", ["full", "last_k_layers", "head"])
@pytest.mark.parametrize("architecture", ["albert", "llama", "modernbert"])
def test_modules_that_scale_and_layers_that_are_shared_are_batched(architecture, name):
    if (architecture, name) == ("albert", "last_k_layers"):
        with pytest.raises(ValueError, match="AlbertForTokenClassification has no single list of its 2 layers"):
            build(name, make(len(TAGS), architecture=architecture))
    else:
        assert tell(name, make(len(TAGS), architecture=architecture))[1] == ""
    assert tell("last_k_layers", make(len(TAGS), architecture="gemma"))[1] == ""  # multiplies by 1 + w


def forgets_its_weight(layout, module, weight, bias, x):
    return layer_norm(layout, module, None, bias, x)


def fails(*_):
    raise RuntimeError("nothing of that shape\nand more")


@pytest.mark.parametrize(
    ("forward", "fault"), [(forgets_its_weight, "off by"), (fails, "fails: nothing of that shape")]
)
def test_a_forward_that_is_wrong_is_found_and_not_used(monkeypatch, obs, forward, fault):
    monkeypatch.setitem(FORWARDS, nn.LayerNorm, forward)
    space, said = tell("full", make(len(TAGS)))
    assert "bert.embeddings.LayerNorm.weight (LayerNorm of BertEmbeddings) cannot be batched" in said
    assert fault in said
    assert "\n" not in said
    members = vectors(space, 3)
    parts = list(space.evaluate(obs, Dense(members), 1000))
    assert [chunk for chunk, _ in parts] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    for member, (_, log_probs) in zip(members, parts, strict=True):
        space.write(member)
        assert th.equal(say(space.policy, obs), log_probs[0])


def test_layers_that_give_tuples_run_once_below_those_that_change(obs):
    policy, seen = make(len(TAGS), architecture="mpnet"), []
    space, said = tell("last_k_layers", policy)
    policy.network.mpnet.encoder.layer[0].attention.register_forward_hook(lambda *call: seen.append(call[2]))
    list(space.evaluate(obs, Dense(vectors(space, 4)), 6))
    assert said == ""
    assert [type(output) for output in seen] == [tuple]


def test_running_out_of_memory_is_no_fault_of_the_forward(monkeypatch):
    def exhausted(*_):
        raise th.OutOfMemoryError("no memory")

    monkeypatch.setitem(FORWARDS, nn.LayerNorm, exhausted)
    with pytest.raises(th.OutOfMemoryError):
        build("full", make(len(TAGS)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_making_a_space_changes_nothing(name, dtype):
    policy = make(len(TAGS), dtype=dtype)
    before, generator, training = weights(policy), th.get_rng_state(), policy.training
    space, said = tell(name, policy)
    assert said == ""  # half precision is not mistaken for an error
    assert same({key: value for key, value in weights(policy).items() if "prompt" not in key}, before)
    assert th.equal(th.get_rng_state(), generator)
    assert policy.training == training
    assert "origin" not in space.state_dict() or name in ("soft_prompt", "deep_prompt")
    assert {p.dtype for p in policy.network.parameters()} == {getattr(th, dtype)}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda space: pickle.loads(pickle.dumps(space))])
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_a_copied_space_moves_the_policy_that_was_copied_with_it(name, copied, obs):
    space = build(name, make(len(TAGS)))
    other = copied(space)
    before = weights(space.policy)
    member = next(vector for vector in vectors(space) if not th.equal(vector, space.initial()))
    other.write(member)
    assert same(before, weights(space.policy))
    assert not same(before, weights(other.policy))
    space.write(member)
    assert th.equal(say(space.policy, obs), say(other.policy, obs))
    if name in PARAMETERS:
        storage = {p.data_ptr() for p in other.policy.parameters()}
        assert {tensor.data_ptr() for tensor in other.tensors()} <= storage
