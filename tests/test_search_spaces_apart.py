"""Members with separate texts, batched in one forward pass, equal each member evaluated alone."""

import pytest
import torch as th
from policies import TAGS, V, make, observe
from test_search_spaces import PARAMETERS, build, same, say, vectors, weights
from test_search_spaces_batching import tell
from torch import nn

from lm_gym.agents.search.population.modules import FORWARDS, embedding
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Pattern, Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces import SEARCH_SPACES

POLICIES = [("bert", V), ("distilbert", len(TAGS)), ("gpt2", len(TAGS))]


@pytest.fixture(params=POLICIES, ids=lambda p: f"{p[0]}-{p[1]}")
def policy(request):
    architecture, n = request.param
    policy = make(n, architecture=architecture)
    for p in policy.network.parameters():
        p.data += 0.1 * th.randn(p.shape, generator=th.Generator().manual_seed(p.numel()))
    return policy


@pytest.fixture
def obs():
    """Return six texts of different lengths and numbers of positions."""
    texts = {key: th.as_tensor(value) for key, value in observe().items()}
    other = {key: leaf.flip(0) for key, leaf in texts.items()} | {"input_ids": texts["input_ids"] % 40 + 6}
    return {key: th.cat([leaf, other[key]]) for key, leaf in texts.items()}


def alone(space, obs, texts):
    return say(space.policy, {key: leaf[texts] for key, leaf in obs.items()})


@pytest.mark.parametrize(("groups", "max_rows"), [(3, 4), (6, 1000)])
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_each_member_written_and_read_alone(policy, obs, name, groups, max_rows):
    space = build(name, policy)
    members, before = vectors(space, 12), weights(policy)
    reading = Reading(obs, 12, groups)
    seen = list(space.evaluate(obs, Dense(members), max_rows, groups))
    assert same(before, weights(policy))
    assert [i for chunk, _ in seen for i in range(12)[chunk]] == list(range(12))
    for chunk, log_probs in seen:
        member, text, slot = reading.positions(chunk)
        assert len(log_probs) == len(member) == len(text) == len(slot)
        for i in range(chunk.stop - chunk.start):
            space.write(members[chunk.start + i])
            of = (chunk.start + i) // reading.sharing * reading.texts
            texts = slice(of, of + reading.texts)
            assert set(text[member == i].tolist()) <= set(range(of, of + reading.texts))
            assert th.allclose(alone(space, obs, texts), log_probs[member == i], atol=1e-5)
        space.write(space.initial())


TRIPLES, BATCH = Pattern((0, 0, 0), (0.0, 1.0, -1.0)), Pattern((0, 0, 1), (0.0, 1.0, 1.0))


@pytest.mark.parametrize(("rank", "pattern"), [(1, None), (None, None), (3, TRIPLES), (1, BATCH)])
@pytest.mark.parametrize("name", PARAMETERS)
def test_each_perturbed_member_materialised(policy, obs, name, rank, pattern):
    space = SEARCH_SPACES[name](policy, scale=0.5)
    given = () if pattern is None else (pattern,)
    population = Perturbed(space.tensors(), space.blocks, Noise(3, 7, rank), 0.3, 6, *given)
    assert len(set(map(float, population.side))) == (2 if pattern in (None, BATCH) else 3)
    for groups, max_rows in ((2, 4), (1, 1000)):
        reading = Reading(obs, 6, groups)
        for chunk, log_probs in space.evaluate(obs, population, max_rows, groups):
            member = reading.positions(chunk)[0]
            for i in range(chunk.stop - chunk.start):
                group = (chunk.start + i) // reading.sharing
                texts = slice(group * reading.texts, (group + 1) * reading.texts)
                said = log_probs[i] if groups == 1 else log_probs[member == i]
                with space.materialised(population, chunk.start + i):
                    assert th.allclose(alone(space, obs, texts), said, atol=1e-5)


def test_what_no_member_changes_runs_once_for_those_that_share(obs):
    for name, texts in (("head", [6, 6]), ("last_k_layers", [6, 24])):
        policy, seen = make(len(TAGS)), [0, 0]
        space = SEARCH_SPACES[name](policy)
        space.check_batching(apart=True)
        for i, layer in enumerate(policy.network.bert.encoder.layer):
            layer.attention.self.register_forward_hook(
                lambda module, inputs, output, i=i, seen=seen: seen.__setitem__(i, seen[i] + len(output[0]))
            )
        list(space.evaluate(obs, Dense(vectors(space, 12)), 8, 3))  # four members a group, two texts each
        assert seen == texts


def test_an_embedding_that_takes_all_texts_for_the_same_is_found_and_not_used(monkeypatch, obs):
    def reads_the_first_texts(layout, module, weight, bias, ids):
        given = type(layout)(layout.members, layout.texts)
        return embedding(given, module, weight, bias, ids)

    monkeypatch.setitem(FORWARDS, nn.Embedding, reads_the_first_texts)
    space, said = tell("full", make(len(TAGS)))
    assert said == ""  # correct if all members read the same texts
    with pytest.warns(UserWarning, match="one after another"):
        parts = list(space.evaluate(obs, Dense(vectors(space, 6)), 1000, 6))
    assert [chunk for chunk, _ in parts] == [slice(i, i + 1) for i in range(6)]


@pytest.mark.parametrize(("members", "groups"), [(6, 4), (5, 3), (6, 0)])
def test_groups_divide_members_and_texts(obs, members, groups):
    with pytest.raises(ValueError, match=f"groups={groups} must divide both {members} members and 6 texts"):
        Reading(obs, members, groups)
