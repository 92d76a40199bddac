"""Results of a search are ordinary checkpoints with the same predictions, also with prompts; errors."""

import json

import pytest
import torch as th
from policies import TAGS, L, V, config, make, observe
from safetensors.torch import load_file
from stable_baselines3 import A2C
from test_search_spaces import build, same, say, vectors, weights
from transformers import AutoModelForMaskedLM

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.agents.search.spaces.discrete_prompt import frequent_words
from lm_gym.builtin import tiny_path

ARCHITECTURES = ("bert", "roberta", "electra", "distilbert", "gpt2")
SHALLOW = ("soft_prompt", "discrete_prompt")
PROMPTS = (*SHALLOW, "deep_prompt")


@pytest.fixture
def obs():
    return {key: th.as_tensor(value) for key, value in observe().items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_a_saved_policy_says_the_same(name, architecture, obs, tmp_path):
    space = build(name, make(len(TAGS), architecture=architecture))
    space.write(vectors(space)[1])
    space.save_pretrained(tmp_path)
    loaded = make(len(TAGS), model=str(tmp_path))
    assert th.allclose(say(space.policy, obs), say(loaded, obs), atol=1e-6)
    assert (tmp_path / "prompt.safetensors").exists() == (name in PROMPTS)


@pytest.mark.parametrize("name", ["lora", "head_mask", "full", "bias"])
def test_a_checkpoint_is_an_ordinary_one(name, obs, tmp_path):
    space = build(name, make(V))
    space.write(vectors(space)[1])
    space.save_pretrained(tmp_path)
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    with th.no_grad():
        logits = plain(input_ids=obs["input_ids"], attention_mask=obs["attention_mask"].long()).logits
    rows, slots = space.policy.places(obs)
    expected = logits[rows, obs["positions"][rows, slots]].log_softmax(-1)
    assert th.allclose(say(space.policy, obs), expected, atol=1e-5)


@pytest.mark.parametrize("name", SHALLOW)
def test_a_prompt_is_what_the_model_would_read_in_the_text(name, obs):
    space = build(name, make(V))
    space.write(vectors(space)[1])
    values = space.policy.language_model.prompt.values
    if name == "soft_prompt":
        table = space.policy.network.get_input_embeddings()
        values = th.tensor([7, 9, 11])
        space.policy.language_model.prompt.values.copy_(table(values).detach())
    text = th.cat([obs["input_ids"][:, :1], values.expand(3, 3), obs["input_ids"][:, 1:]], 1)
    mask = th.cat([th.ones(3, 3), obs["attention_mask"]], 1).long()
    with th.no_grad():
        logits = space.policy.network(input_ids=text, attention_mask=mask).logits
    rows, slots = space.policy.places(obs)
    expected = logits[rows, obs["positions"][rows, slots] + 3].log_softmax(-1)
    assert th.allclose(say(space.policy, obs), expected, atol=1e-5)


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_a_space_over_fresh_weights_goes_on_once_states_are_loaded(name, obs):
    """Rebuild a saved agent: the policy from its configuration, the space, then both states."""
    policy = make(len(TAGS), architecture="electra")
    for p in policy.network.parameters():
        p.detach().mul_(3)  # unlike fresh weights
    space = build(name, policy)
    space.write(vectors(space)[1])
    again = build(name, make(len(TAGS), **{**space.policy.config_kwargs(), "head": None}))
    again.policy.load_state_dict(space.policy.state_dict())
    again.load_state_dict(space.state_dict())
    assert again.blocks == space.blocks
    assert th.equal(say(space.policy, obs), say(again.policy, obs))
    for member in vectors(space):
        space.write(member)
        again.write(member)
        assert th.equal(say(space.policy, obs), say(again.policy, obs))


@pytest.mark.parametrize("name", PROMPTS)
def test_sb3_saves_and_loads_a_prompt(name, obs, tmp_path):
    space = build(name, make(len(TAGS)))
    space.write(vectors(space)[1])
    space.policy.save(tmp_path / "policy.pt")
    loaded = LMPolicy.load(tmp_path / "policy.pt")
    assert th.equal(say(space.policy, obs), say(loaded, obs))
    again = build(name, loaded)  # a search that continues
    again.load_state_dict(space.state_dict())
    for member in vectors(space):
        space.write(member)
        again.write(member)
        assert th.equal(say(space.policy, obs), say(loaded, obs))


def test_a_prompt_without_its_file_is_missed(tmp_path):
    space = build("soft_prompt", make(len(TAGS)))
    space.save_pretrained(tmp_path)
    (tmp_path / "prompt.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="prompt of 3 tokens"):
        make(len(TAGS), model=str(tmp_path))


@pytest.mark.parametrize(("architecture", "limit"), [("bert", 40), ("roberta", 38)])  # RoBERTa's positions begin at 2
def test_prompts_that_overrun_the_model_are_refused(architecture, limit, obs):
    for name in PROMPTS:
        policy = make(len(TAGS), architecture=architecture, model={**config(architecture), "pad_token_id": 1})
        options = {"soft_prompt": {"dim": None}, "discrete_prompt": {"candidates": [5, 6]}}.get(name, {})
        space = SEARCH_SPACES[name](policy, tokens=limit - L, **options)
        assert say(policy, obs).isfinite().all()
        with pytest.raises(
            ValueError, match=f"prompt of {limit - L + 1}, but model '{architecture}' reads at most {limit}"
        ):
            SEARCH_SPACES[name](policy, tokens=limit - L + 1, **options)
        assert len(space.policy.language_model.prompt) == limit - L


def test_a_soft_prompt_can_be_moved_in_place(obs):
    space = SEARCH_SPACES["soft_prompt"](make(len(TAGS)), tokens=3, dim=None)
    population = Perturbed(space.tensors(), space.blocks, Noise(0, 0), sigma=1.0, size=4)
    batched = th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 6)])
    for member in range(4):
        with space.materialised(population, member):
            assert th.allclose(say(space.policy, obs), batched[member], atol=1e-5)


def test_a_soft_prompts_unit_is_how_embeddings_differ():
    policy = make(len(TAGS))
    space = SEARCH_SPACES["soft_prompt"](policy, tokens=20, dim=300)
    prompt, std = policy.language_model.prompt, policy.network.get_input_embeddings().weight.std()
    start = prompt.values.clone()
    space.write(th.randn(300, generator=th.Generator().manual_seed(0)))
    assert ((prompt.values - start).std() / std).item() == pytest.approx(1, abs=0.15)
    with pytest.raises(TypeError, match="no parameters to move in place"):
        space.tensors()
    with pytest.raises(ValueError, match="dim=320: 20 tokens of 16 are 320 numbers"):
        SEARCH_SPACES["soft_prompt"](policy, tokens=20, dim=320)


def test_candidates_begin_words():
    policy = make(4096, model="tiny", vocabulary=4096)
    ids = frequent_words(policy, 300)
    vocabulary = json.loads((tiny_path() / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = {i: token for token, i in vocabulary.items()}
    assert len(set(ids)) == 300
    assert ids == sorted(ids)
    assert all(words[i].isalpha() and len(words[i]) > 1 for i in ids)
    with pytest.raises(ValueError, match="tokenizer isn't known"):
        SEARCH_SPACES["discrete_prompt"](make(len(TAGS)))
    with pytest.raises(ValueError, match="at least two different ids, 0 to 49"):
        SEARCH_SPACES["discrete_prompt"](make(len(TAGS)), candidates=[3, 50])


def test_lora_moves_with_its_output_factor_first():
    policy = make(len(TAGS))
    space = SEARCH_SPACES["lora"](policy, rank=2)
    before, half = weights(policy), SEARCH_SPACES["lora"](policy, rank=2, factors="output").domain.dim
    assert space.domain.dim == 2 * half == 4 * 2 * (16 + 16)
    vector = space.initial().view(4, -1)
    vector[:, 2 * 16 :] = 1.0  # only the input factors
    space.write(vector.flatten())
    assert same(before, weights(policy))
    vector[0, 0] = 1.0
    space.write(vector.flatten())
    changed = [key for key, tensor in policy.state_dict().items() if not th.equal(tensor, before[key])]
    assert changed == ["language_model.network.bert.encoder.layer.0.attention.self.query.weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": "input"}, "no signal"),
        ({"factors": "neither"}, "'both' nor 'output'"),
        ({"rank": 17}, "give 1 to 16"),
        ({"targets": ("*nowhere*",)}, "match no linear module.*classifier"),
    ],
)
def test_lora_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        SEARCH_SPACES["lora"](make(len(TAGS)), **options)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_lora_adapter_holds_the_merged_change(architecture, tmp_path):
    space = build("lora", make(len(TAGS), architecture=architecture))
    before = weights(space.policy)
    space.write(vectors(space)[0])
    space.save_adapter(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert len(tensors) == 2 * len(settings["target_modules"])
    assert settings["fan_in_fan_out"] == (architecture == "gpt2")
    for name in settings["target_modules"]:
        key = f"language_model.network.{name}.weight"
        change = tensors[f"base_model.model.{name}.lora_B.weight"] @ tensors[f"base_model.model.{name}.lora_A.weight"]
        change = change.T if settings["fan_in_fan_out"] else change
        assert th.allclose(weights(space.policy)[key], before[key] + change, atol=1e-6)


def test_heads_kept_can_have_a_price():
    policy = make(len(TAGS))
    members = Dense(th.tensor([[1, 1, 1, 1], [1, 0, 0, 0]]).bool())
    assert SEARCH_SPACES["head_mask"](policy).cost(members) is None
    assert SEARCH_SPACES["head_mask"](policy, price=0.2).cost(members).tolist() == pytest.approx([0.2, 0.05])


@pytest.mark.parametrize("name", ["lora", "soft_prompt", "head_mask", "discrete_prompt", "last_k_layers"])
def test_other_policies_are_refused(name):
    with pytest.raises(TypeError, match=f"{name} needs an LMPolicy"):
        SEARCH_SPACES[name](A2C("MlpPolicy", "CartPole-v1", device="cpu").policy)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_kept_are_read_from_the_weights(architecture, tmp_path):
    space = SEARCH_SPACES["head_mask"](make(len(TAGS), architecture=architecture))
    assert space.summary() == {"heads_kept": 1.0}
    with th.no_grad():
        space._outputs[0].weight[0] = 0  # a part of every head is left
        space._outputs[0].weight[:, 0] = 0
    assert space.summary() == {"heads_kept": 1.0}
    kept = space.initial()
    kept[0] = False
    space.write(kept)
    space.save_pretrained(tmp_path)
    again = SEARCH_SPACES["head_mask"](make(len(TAGS), model=str(tmp_path)))
    assert space.summary() == again.summary() == {"heads_kept": pytest.approx(1 - 1 / len(kept))}


def test_a_deep_prompt_is_added_at_every_layer(obs):
    """Compared with an encoder that is run layer by layer."""
    policy = make(V)
    for p in policy.network.parameters():
        p.data += 0.2 * th.randn(p.shape, generator=th.Generator().manual_seed(p.numel()))
    space = SEARCH_SPACES["deep_prompt"](policy, tokens=3, dim=20, scale=5.0)
    plain = say(policy, obs)
    space.write(vectors(space)[1])
    prompt, encoder = policy.language_model.prompt, policy.network.base_model
    rows, slots = policy.places(obs)
    with th.no_grad():
        table = policy.network.get_input_embeddings()(obs["input_ids"])
        text = th.cat([table[:, :1], prompt.values.expand(3, 3, -1), table[:, 1:]], 1)
        mask = th.cat([th.ones(3, 3), obs["attention_mask"]], 1)
        hidden = encoder.embeddings(inputs_embeds=text)
        for number, layer in enumerate(encoder.encoder.layer):
            if number:
                hidden[:, 1:4] += prompt.deep[number - 1]
            hidden = layer(hidden, (1 - mask)[:, None, None] * -1e9)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        columns = obs["positions"][rows, slots]
        said = policy.network.cls(hidden[rows, th.where(columns >= 1, columns + 3, columns)]).log_softmax(-1)
    assert th.allclose(say(policy, obs), said, atol=1e-5)
    assert not th.allclose(plain, said, atol=1e-3)
    prompt.deep.zero_()
    assert not th.allclose(say(policy, obs), said, atol=1e-3)


def test_a_deep_prompt_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"dim=48: 3 tokens of 16 are 48 numbers per layer"):
        SEARCH_SPACES["deep_prompt"](make(V), tokens=3, dim=48)
    with pytest.raises(ValueError, match="no single list"):
        SEARCH_SPACES["deep_prompt"](make(V, architecture="albert"), tokens=3, dim=20)
