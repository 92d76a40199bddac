"""Estimates of the likelihood of texts that are filled in step by step."""

import gymnasium
import numpy as np
import pytest
import torch as th

from lm_gym.agents import REINFORCE, LMPolicy
from lm_gym.agents.algorithms.text_likelihoods import MaskedPasses, passes, text_log_likelihood
from tests.cases import word_level
from tests.small import SMALL

ID = "lm_gym/Unmasking-v0"
MODEL = {**SMALL, "vocab_size": 7, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ESTIMATES = ("one_step", "elbo", "coupled")


def make(num_envs, texts=("121", "22"), **options):
    source = {"dataset": {"train": [{"tokens": list(text)} for text in texts]}, "tokenizer": word_level("12")}
    return gymnasium.make_vec(ID, num_envs, unit="sequence", autoreset_mode="SameStep", **source, **options)


@pytest.fixture(scope="module")
def texts():
    """Return a policy and the tensors of two texts with three and two masks."""
    env = make(2)
    th.manual_seed(0)
    policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, model=MODEL)
    policy.set_training_mode(False)
    observation, _ = env.reset(options={"indices": [0, 1]})
    obs, _ = policy.obs_to_tensor(observation)
    return policy, obs, th.as_tensor(np.where(env.targets < 7, env.targets, 0))


def test_one_step_is_the_likelihood_with_nothing_given(texts):
    policy, obs, tokens = texts
    inside = obs["position_mask"].bool()
    with th.no_grad():
        found = text_log_likelihood(policy, obs, tokens, passes("one_step", inside, 1))
        assert th.allclose(found, policy.positions({**obs, "due": inside}).log_prob(tokens), atol=1e-5)


def test_a_single_mask_has_one_likelihood(texts):
    policy, obs, tokens = texts
    only = obs["position_mask"].bool() & (th.arange(3) == 0)
    lone = {**obs, "position_mask": only}  # the other masks stay masked in every pass
    with th.no_grad():
        exact = policy.positions({**lone, "due": only}).log_prob(tokens)
        for kind in ESTIMATES:
            assert th.allclose(text_log_likelihood(policy, lone, tokens, passes(kind, only, 3)), exact, atol=1e-5)


def test_what_is_given_is_read(texts):
    policy, obs, tokens = texts
    last = th.tensor([[False, False, True], [False, True, False]])
    filled = obs["input_ids"].clone()
    filled[0, 1:3], filled[1, 1] = tokens[0, :2], tokens[1, 0]
    with th.no_grad():
        found = text_log_likelihood(policy, obs, tokens, MaskedPasses(last[None], th.ones(1, 2)))
        expected = policy.positions({**obs, "input_ids": filled, "due": last}).log_prob(tokens)
    assert th.allclose(found, expected, atol=1e-5)


def test_passes_that_are_steps_give_the_exact_likelihood(texts):
    policy, obs, tokens = texts
    inside, slots = obs["position_mask"].bool(), th.arange(3)
    masked = th.stack([inside & (slots >= step) for step in range(3)])
    steps = MaskedPasses(masked, th.ones(3, 2), th.stack([inside & (slots == step) for step in range(3)]))
    env = make(2)
    observation, _ = env.reset(options={"indices": [0, 1]})
    exact, running = th.zeros(2), th.ones(2)
    with th.no_grad():
        for _ in range(3):
            exact += running * policy.positions(policy.obs_to_tensor(observation)[0]).log_prob(tokens)
            observation, _, ended, *_ = env.step(tokens.numpy())
            running *= th.as_tensor(~ended)
        assert th.allclose(text_log_likelihood(policy, obs, tokens, steps), exact, atol=1e-5)


@pytest.mark.parametrize("kind", ESTIMATES)
def test_every_position_counts_once(kind):
    """This holds on average over draws for the ELBO, and always for the others."""
    th.manual_seed(0)
    inside = th.tensor([[True, True, True], [True, True, False]])
    drawn = passes(kind, inside, 2000 if kind == "elbo" else 2)
    assert not (drawn.masked & ~inside).any()
    counted = (drawn.masked * drawn.weights[..., None]).sum(0)
    assert th.allclose(counted, inside.float(), atol=0.1 if kind == "elbo" else 1e-6)


@pytest.mark.parametrize(("kind", "count"), [("one_step", 1), ("elbo", 2), ("coupled", 5)])
def test_an_update_reads_a_text_once_a_pass(kind, count):
    env = make(8, group_size=4, order="random", reward="exact_match")
    agent = REINFORCE("LMPolicy", env, 1e-3, policy_kwargs={"model": MODEL}, likelihood=kind, masks=2, seed=0)
    before = [parameter.detach().clone() for parameter in agent.policy.parameters()]
    agent.learn(8)
    played = agent.forward_passes - 8 * count * agent._n_updates
    assert agent.backward_passes == 8 * count * agent._n_updates
    assert played > 0
    assert any((one != other).any() for one, other in zip(before, agent.policy.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "learned", "max_steps": 3}, "positions may stay open"),
        ({"max_steps": 1, "leave_open": True}, "positions may stay open"),
        ({"per_step": None}, "do not take several steps"),
    ],
)
def test_an_estimate_needs_fixed_steps(options, message):
    with pytest.raises(ValueError, match=message):
        REINFORCE("LMPolicy", make(2, **options), policy_kwargs={"model": MODEL}, likelihood="elbo")


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(ValueError, match="did you mean 'elbo'"):
        REINFORCE("LMPolicy", make(2), policy_kwargs={"model": MODEL}, likelihood="elbow")
