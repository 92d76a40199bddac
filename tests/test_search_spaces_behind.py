"""Prompts behind the texts of causal models: texts are encoded once, with the same results as for members alone."""

import policies
import pytest
import torch as th
from policies import TAGS, V, make, observe
from test_search_spaces import build, same, say, vectors, weights

from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces import SEARCH_SPACES

OPTIONS = {"soft_prompt": {"dim": 20}, "discrete_prompt": {"candidates": range(5, 30)}}
both = pytest.mark.parametrize("name", OPTIONS)


@pytest.fixture(params=[("gpt2", len(TAGS)), ("llama", V)], ids=lambda p: p[0])
def policy(request, monkeypatch):
    monkeypatch.setattr(policies, "T", 1)
    architecture, n = request.param
    policy = make(n, architecture=architecture)
    for p in policy.network.parameters():
        p.data += 0.2 * th.randn(p.shape, generator=th.Generator().manual_seed(p.numel()))
    return policy


@pytest.fixture
def obs():
    """Return six texts of different lengths, decided at their last tokens."""
    texts = {key: th.as_tensor(value) for key, value in observe().items()}
    ids, mask = (th.cat([texts[key], texts[key].flip(0)]) for key in ("input_ids", "attention_mask"))
    last = mask.long().sum(1, keepdim=True) - 1
    return {"input_ids": ids, "attention_mask": mask, "positions": last, "position_mask": th.ones(6, 1)}


def behind(name, policy):
    return SEARCH_SPACES[name](policy, tokens=3, place="behind", **OPTIONS[name])


@both
@pytest.mark.parametrize("groups", [1, 3])
def test_members_read_what_they_would_alone_and_texts_are_encoded_once(policy, obs, name, groups):
    space = behind(name, policy)
    members, before = vectors(space, 6), weights(policy)
    list(space.evaluate(obs, Dense(members), 1000, groups))  # the check of members that read apart
    read = []

    def record(_, args, kwargs):
        given = kwargs.get("input_ids"), kwargs.get("inputs_embeds")
        read.extend(tuple(leaf.shape[:2]) for leaf in given if leaf is not None)

    hook = policy.network.base_model.register_forward_pre_hook(record, with_kwargs=True)
    reading, seen = Reading(obs, 6, groups), list(space.evaluate(obs, Dense(members), 4, groups))
    hook.remove()
    longest = int(obs["attention_mask"].sum(1).max())
    assert read == [(6, longest), *(((chunk.stop - chunk.start) * reading.texts, 3) for chunk, _ in seen)]
    assert same(before, weights(policy))
    for chunk, log_probs in seen:
        member = reading.positions(chunk)[0]
        for i in range(chunk.stop - chunk.start):
            space.write(members[chunk.start + i])
            first = (chunk.start + i) // reading.sharing * reading.texts
            alone = say(policy, {key: leaf[first : first + reading.texts] for key, leaf in obs.items()})
            said = log_probs[i] if groups == 1 else log_probs[member == i]
            assert th.allclose(alone, said, atol=1e-5)
        space.write(space.initial())


@both
def test_the_prompt_is_what_the_model_would_read_behind_the_text(policy, obs, name):
    space = behind(name, policy)
    space.write(vectors(space)[1])
    values = policy.language_model.prompt.values
    said = say(policy, obs)
    for row in range(6):
        length = int(obs["attention_mask"][row].sum())
        table = policy.network.get_input_embeddings()
        with th.no_grad():
            prompt = values if name == "soft_prompt" else table(values)
            text = th.cat([table(obs["input_ids"][row, :length]), prompt])[None]
            hidden = policy.network.base_model(inputs_embeds=text)[0][:, -1]
            expected = policy.language_model.head(hidden).log_softmax(-1)
        assert th.allclose(said[row : row + 1], expected, atol=1e-5)


@both
def test_a_saved_policy_says_the_same(policy, obs, name, tmp_path):
    space = behind(name, policy)
    space.write(vectors(space)[1])
    space.save_pretrained(tmp_path)
    loaded = make(policy.num_choices, model=str(tmp_path))
    assert loaded.language_model.prompt.place == "behind"
    assert th.allclose(say(policy, obs), say(loaded, obs), atol=1e-6)


def test_a_prompt_itself_can_be_moved_in_place(policy, obs):
    space = SEARCH_SPACES["soft_prompt"](policy, tokens=3, dim=None, place="behind")
    population = Perturbed(space.tensors(), space.blocks, Noise(0, 0), 0.5, 4)
    ((_, log_probs),) = space.evaluate(obs, population, 1000)
    for member in range(4):
        with space.materialised(population, member):
            assert th.allclose(say(policy, obs), log_probs[member], atol=1e-5)


def test_members_are_near_those_in_bfloat16(policy, obs):
    space = behind("soft_prompt", policy)
    ((_, full),) = space.evaluate(obs, Dense(vectors(space)), 1000)
    space.precision = "bfloat16"
    ((_, low),) = space.evaluate(obs, Dense(vectors(space)), 1000)
    assert 0 < (low - full).square().mean().sqrt() < 0.05 * full.std(-1).mean()


@both
def test_what_would_not_read_it_is_refused(name, monkeypatch):
    with pytest.raises(ValueError, match="one position per text, at its last token, but this task decides up to 5"):
        behind(name, make(len(TAGS), architecture="gpt2"))
    monkeypatch.setattr(policies, "T", 1)
    with pytest.raises(ValueError, match="place='behind' needs a causal model, but BertForMaskedLM reads in both"):
        behind(name, make(V))


def test_a_deep_prompt_is_not_put_behind_the_text(policy):
    behind("soft_prompt", policy)
    with pytest.raises(ValueError, match="has a prompt behind the text"):
        build("deep_prompt", policy)
