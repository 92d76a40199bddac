"""Every search space over every architecture: batched members equal each member on its own."""

import itertools

import pytest
import torch as th
from policies import ARCHITECTURES, TAGS, V, make, observe
from stable_baselines3 import A2C

from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.spaces import SEARCH_SPACES

OPTIONS = {
    "soft_prompt": {"tokens": 3, "dim": 20, "scale": 5.0},
    "deep_prompt": {"tokens": 3, "dim": 20, "scale": 5.0},
    "discrete_prompt": {"tokens": 3, "candidates": range(5, 30)},
    "lora": {"rank": 2, "scale": 1.0},
}
PARAMETERS = ("full", "last_k_layers", "head", "bias")
POLICIES = [*itertools.product(ARCHITECTURES, (V, len(TAGS))), ("gpt2", len(TAGS))]


@pytest.fixture(params=POLICIES, ids=lambda p: f"{p[0]}-{p[1]}")
def policy(request):
    architecture, n = request.param
    policy = make(n, architecture=architecture)
    for p in policy.network.parameters():  # fresh biases are all zero, so a mix-up would go unnoticed
        p.data += 0.1 * th.randn(p.shape, generator=th.Generator().manual_seed(p.numel()))
    return policy


@pytest.fixture
def obs():
    return {key: th.as_tensor(value) for key, value in observe().items()}


def say(policy, obs):
    policy.set_training_mode(False)
    with th.no_grad():
        return policy.positions(obs).log_probs


def build(name, policy, **options):
    return SEARCH_SPACES[name](policy, **OPTIONS.get(name, {}), **options)


def vectors(space, members=5):
    generator, domain = th.Generator().manual_seed(1), space.domain
    if domain.kind == "real":
        return 0.5 * th.randn(members, domain.dim, generator=generator)
    drawn = th.randint(domain.choices, (members, domain.dim), generator=generator)
    return drawn.bool() if domain.kind == "binary" else drawn


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(th.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("max_rows", [1, 6, 1000])
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_batched_equals_each_member_written(policy, obs, name, max_rows):
    space = build(name, policy)
    members, before = vectors(space), weights(policy)
    assert space.initial().shape == (space.domain.dim,)
    untouched = say(policy, obs)
    seen = []
    for _ in range(2):  # measured from the start before and after a write
        seen = list(space.evaluate(obs, Dense(members), max_rows))
        assert same(before, weights(policy))
        assert [i for chunk, _ in seen for i in range(5)[chunk]] == [0, 1, 2, 3, 4]
        batched = th.cat([log_probs for _, log_probs in seen])
        for member, expected in zip(members, batched, strict=True):
            space.write(member)
            assert th.allclose(say(policy, obs), expected, atol=1e-5)
        assert (batched - untouched).abs().max() > 1e-3
        before = weights(policy)
    space.write(space.initial())
    assert th.equal(say(policy, obs), untouched)


@pytest.mark.parametrize("rank", [1, 3, None])
@pytest.mark.parametrize("name", PARAMETERS)
def test_batched_equals_each_perturbed_member(policy, obs, name, rank):
    space = SEARCH_SPACES[name](policy, scale=0.5)
    population = Perturbed(space.tensors(), space.blocks, Noise(3, 7, rank), sigma=0.3, size=6)
    before = weights(policy)
    batched = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 6)])
    assert same(before, weights(policy))
    for member in range(population.size):
        values = [population.tensor(index, member) for index in range(len(space.blocks))]
        with space.materialised(population, member):
            assert all(th.equal(tensor, value) for tensor, value in zip(space.tensors(), values, strict=True))
            assert th.allclose(say(policy, obs), batched[member], atol=1e-5)
    assert same(before, weights(policy))
    assert (batched[0] - batched[1]).abs().max() > 1e-3


def test_many_texts_equal_each_perturbed_member(obs):
    obs = {key: leaf.repeat(8, 1) for key, leaf in obs.items()}  # enough rows for products member by member
    space = SEARCH_SPACES["full"](make(V), scale=0.5)
    population = Perturbed(space.tensors(), space.blocks, Noise(0, 0), sigma=0.3, size=4)
    batched = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 1000)])
    for member in range(4):
        with space.materialised(population, member):
            assert th.allclose(say(space.policy, obs), batched[member], atol=1e-5)


def test_one_members_pass_equals_pairs_in_one_forward(obs):
    space = SEARCH_SPACES["full"](make(len(TAGS)))
    population = Perturbed(space.tensors(), space.blocks, Noise(0, 0, None), sigma=1.0, size=4)
    alone = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 1)])
    together = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 1000)])
    assert th.allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(("name", "options", "runs"), [("head", {}, [1, 1]), ("last_k_layers", {"k": 1}, [1, 4])])
def test_what_no_member_changes_runs_once(obs, name, options, runs):
    policy = make(len(TAGS))
    space, texts = SEARCH_SPACES[name](policy, **options), [0, 0]
    for i, layer in enumerate(policy.network.bert.encoder.layer):
        layer.attention.self.register_forward_hook(
            lambda module, inputs, output, i=i: texts.__setitem__(i, texts[i] + len(output[0]))
        )
    list(space.evaluate(obs, Dense(vectors(space, 4)), 6))
    assert texts == [3 * times for times in runs]


def test_frozen_parameters_are_not_searched():
    space = SEARCH_SPACES["full"](make(len(TAGS), freeze=("*embeddings*",)))
    assert space.blocks
    assert not any("embeddings" in block.name for block in space.blocks)


def test_full_searches_parts_by_name():
    policy = make(len(TAGS))
    space = SEARCH_SPACES["full"](policy, only=("*layer.1.*", "classifier.bias"))
    assert {block.name.split(".")[3] for block in space.blocks if "encoder" in block.name} == {"1"}
    assert space.blocks[-1].name == "classifier.bias"
    with pytest.raises(ValueError, match=r"'\*layer.9.\*' matches no free parameter.*classifier"):
        SEARCH_SPACES["full"](policy, only=("*layer.9.*",))


@pytest.mark.parametrize("k", [0, 3])
def test_last_layers_out_of_range_are_refused(k):
    with pytest.raises(ValueError, match=r"give 1 to 2|at least 1"):
        SEARCH_SPACES["last_k_layers"](make(len(TAGS)), k=k)


def test_a_resumed_space_measures_from_the_same_origin(obs):
    first = SEARCH_SPACES["head"](make(len(TAGS)))
    member = vectors(first)[0]
    assert first.state_dict() == {}
    first.write(member)
    second = SEARCH_SPACES["head"](make(len(TAGS)))
    second.policy.load_state_dict(first.policy.state_dict())
    second.load_state_dict(first.state_dict())
    second.write(member)
    assert same(weights(first.policy), weights(second.policy))


def test_pairs_around_other_tensors_are_refused(obs):
    space = SEARCH_SPACES["head"](make(len(TAGS)))
    copies = [tensor.clone() for tensor in space.tensors()]
    with pytest.raises(ValueError, match="not this search space's"):
        next(space.evaluate(obs, Perturbed(copies, space.blocks, Noise(0, 0), 1.0, 2), 6))


@pytest.mark.parametrize("name", ["full", "head", "bias"])
def test_an_mlp_policy_is_searched_without_its_critic(name, obs):
    policy = A2C("MlpPolicy", "CartPole-v1", device="cpu").policy
    space = SEARCH_SPACES[name](policy)
    before = weights(policy)
    space.write(th.ones(space.domain.dim))
    changed = {key for key, tensor in policy.state_dict().items() if not th.equal(tensor, before[key])}
    assert changed == {block.name for block in space.blocks}
    assert not any("value" in key for key in changed)
    space.write(space.initial())
    assert same(before, weights(policy))
    with pytest.raises(TypeError, match="LMPolicy"):
        next(space.evaluate(obs, Dense(vectors(space)), 6))


def test_layers_of_the_same_shape_have_noise_of_their_own(obs):
    space = SEARCH_SPACES["full"](make(len(TAGS)))
    alike = [i for i, block in enumerate(space.blocks) if block.shape == (16, 16)]
    assert len(alike) == 8
    for noise in (Noise(0, 0), Noise(0, 0, None)):
        drawn = [noise.dense(i, space.blocks[i], 0, 2, th.device("cpu")).flatten() for i in alike]
        assert th.corrcoef(th.stack(drawn)).triu(1).abs().max() < 0.4  # 256 numbers each: 0.0625 is one deviation


@pytest.mark.parametrize("rank", [1, 4, None])
def test_the_estimate_points_where_the_gradient_does(obs, rank):
    """For N pairs in d dimensions, the cosine of Σ (f₊ - f₋) ε and the gradient is √(N/(N + d)) for any rank."""
    policy = make(len(TAGS))
    policy.set_training_mode(False)
    space = SEARCH_SPACES["full"](policy, only=("*layer.1.attention*",), scale=1.0)
    target = th.arange(11) % len(TAGS)
    loss = policy.positions(obs).log_probs[th.arange(11), target].mean()
    parameters = dict(policy.network.named_parameters())
    gradients = th.autograd.grad(loss, [parameters[block.name] for block in space.blocks])
    true = th.cat([block.scale * g.flatten() for block, g in zip(space.blocks, gradients, strict=True)])
    pairs, cosines = 300, []
    for generation in range(4):
        population = Perturbed(space.tensors(), space.blocks, Noise(0, generation, rank), sigma=0.02, size=2 * pairs)
        said = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 512)])
        fitness = said[:, th.arange(11), target].double().mean(1)
        estimate = (fitness[0::2] - fitness[1::2]).float() @ population.vectors(slice(0, None, 2))
        cosines.append(th.cosine_similarity(estimate, true, 0).item())
    expected = (pairs / (pairs + space.domain.dim)) ** 0.5
    assert sum(cosines) / 4 == pytest.approx(expected, rel=0.15)
