"""The pointer head: candidates are scored at their markers, by policies, populations and every algorithm."""

import numpy as np
import pytest
import torch
from policies import ARCHITECTURES, SIZES
from transformers import AutoConfig, AutoModelForTokenClassification

from lm_gym.agents import evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.model.pointer import ABSENT, Pointer, pointer_logits
from tests.replies import TOKENIZER, make, policy_of
from tests.small import small


def test_markers_are_found_in_order_and_not_in_padding():
    marked = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0]]) > 0
    columns, there = Pointer(9, False, True, 4).columns(marked)
    assert columns.tolist() == [[2, 3, 5, 0], [3, 0, 0, 0]]
    assert there.tolist() == [[True, True, True, False], [True, False, False, False]]
    columns, _ = Pointer(9, True, True, 4).columns(marked)  # the last marker is choice 0
    assert columns.tolist() == [[5, 2, 3, 0], [3, 0, 0, 0]]


def test_candidates_are_read_with_their_similarity_to_the_context():
    marked = torch.tensor([[0, 0, 1, 0, 1, 0, 0, 1]]) > 0
    along, up, both = [2.0, 0.0], [0.0, 3.0], [3.0, 4.0]
    output = torch.tensor([[along, along, [9.0, 9.0], both, [8.0, 8.0], up, along, [7.0, 7.0]]])
    pointer = Pointer(9, False, True, 3)
    read = pointer.read(output, torch.tensor([0, 0]), *pointer.columns(marked), marked)
    assert torch.allclose(read[0], torch.tensor([[8.0, 8.0, 15 * 0.6], [7.0, 7.0, 15 * 0.5], [0.0, 0.0, 0.0]]))
    assert torch.equal(read[0], read[1])
    abstaining = Pointer(9, True, True, 2)
    read = abstaining.read(output, torch.tensor([0]), *abstaining.columns(marked), marked)
    assert torch.allclose(read[0, :, 2], torch.tensor([15 * 0.6, 15 * 0.6]))  # as the only candidate


def test_absent_candidates_have_no_probability():
    hidden = torch.ones(2, 3, 4)
    hidden[1, 2] = 0
    logits = pointer_logits(torch.arange(6.0)[:, None], hidden)
    assert logits.tolist() == [[1, 2, 3], [4, 5, ABSENT]]
    assert logits.softmax(-1)[1, 2] == 0
    assert pointer_logits(torch.arange(12.0)[:, None], hidden).shape == (4, 3)  # two members share the states


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2"])
def test_a_candidate_is_scored_at_its_marker(architecture, tmp_path):
    env = make(similarity=False)
    sizes = {**SIZES, **ARCHITECTURES.get(architecture, {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0})}
    config = {"model_type": architecture, **sizes, "vocab_size": 13, "max_position_embeddings": 40}
    policy = policy_of(env, model=config)
    obs = env.reset(seed=0)[0]
    with torch.no_grad():
        ours = policy.positions(policy.obs_to_tensor(obs)[0]).log_probs
    policy.save_pretrained(tmp_path)
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    ids, mask = (torch.tensor(obs[name]).long() for name in ("input_ids", "attention_mask"))
    with torch.no_grad():
        logits = plain(input_ids=ids, attention_mask=mask).logits[..., 0]
    for row in range(2):
        theirs = logits[row][ids[row] == TOKENIZER.token_to_id("[MASK]")][1:].log_softmax(-1)
        assert torch.allclose(ours[row, : len(theirs)], theirs, atol=1e-5)
    again = policy_of(env, model=str(tmp_path))
    with torch.no_grad():
        assert torch.allclose(again.positions(again.obs_to_tensor(obs)[0]).log_probs, ours, atol=1e-6)
    with pytest.raises(ValueError, match="trained with pointer"):
        policy_of(make(), model=str(tmp_path))
    with pytest.raises(ValueError, match="give both or neither"):
        policy_of(env, pointer=None)


@pytest.mark.parametrize("space", ["head", "lora", "bias", "full"])
def test_members_of_a_population_are_evaluated_together(space):
    env = make(num_envs=4)
    model = ALGORITHMS["es"]("LMPolicy", env, policy_kwargs=small(env), search_space=space, seed=0)
    model.learn(8)  # a space that evaluated members one after another would warn
    assert np.isfinite(evaluate(model.policy, make()).metrics["cross_entropy"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns(algorithm, tmp_path):
    kind = ALGORITHMS[algorithm]
    env = make(num_envs=4 * kind.env_arguments.get("group_size", 1), **{"abstain": True, **kind.env_arguments})
    more = {"n_steps": 2} if algorithm == "ppo" else {}
    model = kind("LMPolicy", env, policy_kwargs=small(env), seed=0, **more)
    model.learn(8)
    played = make(abstain=True)
    assert evaluate(model.policy, played).metrics.keys() >= {"accuracy", "mrr", "recall_at_2", "abstention_rate"}
    if algorithm in ("reinforce", "ppo", "es"):
        model.save(tmp_path / "agent")
        again = kind.load(tmp_path / "agent", env=env)
        obs = env.reset(seed=1)[0]
        assert np.array_equal(*(one.policy.predict(obs, deterministic=True)[0] for one in (model, again)))


def test_configuration_of_a_checkpoint_names_the_marker(tmp_path):
    policy = policy_of(make(abstain=True))
    policy.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.pointer == {"marker": TOKENIZER.token_to_id("[MASK]"), "abstains": True, "similarity": True}
    assert config.id2label == {0: "candidate"}
