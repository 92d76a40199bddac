"""Texts are encoded once, and again only if they or the weights have changed."""

from copy import deepcopy

import numpy as np
import pytest
import torch as th
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lm_gym.agents.model.text_encoder import Spent
from tests.test_policy import TAGS, make, observe

CURSOR = [0, 1, 3]


@pytest.fixture
def policy():
    made = make(len(TAGS), "token")
    made.set_training_mode(False)
    return made


def tensors(policy, **leaves):
    return policy.obs_to_tensor({**observe(CURSOR), **leaves})[0]


def look(policy, obs):
    """Return log-probabilities [B, n] and values [B] as in a rollout."""
    with th.no_grad():
        packed = policy._decide(obs)
        return packed.log_probs[packed.steps], policy.values(packed)[packed.steps]


def anew(policy, obs):
    """Return the same for each row alone, with nothing kept."""
    with th.no_grad():
        packed = policy.positions(obs, obs["cursor"].flatten())
        return packed.log_probs, policy.values(packed)


def same(one, two):
    return all(th.allclose(a, b, atol=1e-5) for a, b in zip(one, two, strict=True))


def test_cursors_move_for_the_price_of_a_head(policy):
    for cursor in ([0, 0, 0], [1, 1, 1], [4, 1, 3]):
        obs = tensors(policy, cursor=np.array(cursor)[:, None])
        assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent == Spent(3, 12 + 7 + 9, 0)


def test_only_rows_that_changed_are_encoded(policy):
    look(policy, tensors(policy))
    changed = observe(CURSOR)
    changed["input_ids"][1, 2] += 1
    obs = tensors(policy, **changed)
    assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent == Spent(4, 12 + 7 + 9 + 7, 0)
    changed["positions"][2, 3] = 6  # the same sub-tokens, but another position to decide
    obs = tensors(policy, **changed)
    assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent.texts == 5


def test_rows_that_read_the_same_are_encoded_once(policy):
    rows = [0, 0, 1, 0, 2, 1]
    obs = {name: leaf[rows] for name, leaf in tensors(policy).items()}
    obs["cursor"] = th.tensor([0, 1, 0, 1, 2, 1])[:, None]
    assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent.texts == 3
    packed = policy._decide(obs)  # with a gradient, nothing is kept, but no text is encoded twice
    assert same((packed.log_probs[packed.steps],), anew(policy, obs)[:1])
    assert len(packed.log_probs) == 5  # two rows decide the same position
    assert policy.encoder.spent == Spent(6, 2 * (12 + 7 + 9), 3)


def test_a_row_may_leave_a_text_that_others_go_on_with(policy):
    obs = {name: leaf[[0, 0]] for name, leaf in tensors(policy).items()}
    look(policy, obs)
    obs = {name: th.cat([leaf[:1], tensors(policy)[name][2:]]) for name, leaf in obs.items()}
    assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent.texts == 2


def test_batches_of_two_sizes_are_kept_beside_each_other(policy):
    obs = tensors(policy)
    for _ in range(3):
        for rows in ([0, 1, 2], [1]):
            some = {name: leaf[rows] for name, leaf in obs.items()}
            assert same(look(policy, some), anew(policy, some))
    assert policy.encoder.spent.texts == 4


def step(policy):
    policy.evaluate_actions(tensors(policy), th.tensor([0, 1, 2]))[1].sum().backward()
    policy.optimizer.step()


def write(policy):
    with th.no_grad():
        policy.network.base_model.get_input_embeddings().weight[observe()["input_ids"][0, 1]] *= 9.0


def through_data(policy):
    for parameter in policy.parameters():
        parameter.data.mul_(1.1)


def replace(policy):
    weight = policy.network.base_model.get_input_embeddings().weight
    weight.data = weight.data * th.linspace(-1, 1, len(weight))[:, None]


def load(policy):
    policy.load_state_dict({name: value + 0.1 for name, value in policy.state_dict().items()})


def assign(policy):
    changed = {name: value + 0.1 for name, value in policy.state_dict().items()}
    policy.load_state_dict(changed, assign=True)


def flat(policy):
    vector_to_parameters(parameters_to_vector(policy.network.parameters()).detach() * 1.2, policy.network.parameters())


@pytest.mark.parametrize("change", [step, write, through_data, replace, load, assign, flat])
def test_other_weights_mean_other_hidden_states(policy, change):
    obs = tensors(policy)
    before = look(policy, obs)
    with th.enable_grad():
        change(policy)
    after = look(policy, obs)
    assert not same(before, after)
    assert same(after, anew(policy, obs))


def test_weights_replaced_back_and_forth_are_never_taken_for_older_ones(policy):
    obs = tensors(policy)
    weight = next(policy.network.base_model.parameters())
    for value in range(20):  # freed memory is reused, so an address alone does not identify a tensor
        weight.data = th.full_like(weight.data, 0.01 * value)
        assert same(look(policy, obs), anew(policy, obs))


def test_inference_mode_keeps_nothing(policy):
    obs = tensors(policy)
    with th.inference_mode():
        look(policy, obs)
    assert same(look(policy, obs), anew(policy, obs))
    assert policy.encoder.spent.texts == 6


def test_training_mode_keeps_nothing(policy):
    obs = tensors(policy)
    look(policy, obs)
    policy.set_training_mode(True)
    look(policy, obs)
    policy.set_training_mode(False)
    look(policy, obs)
    assert policy.encoder.spent.texts == 9


def test_a_copy_keeps_for_itself(policy):
    obs = tensors(policy)
    before = look(policy, obs)
    copy = deepcopy(policy)
    write(copy)
    assert same(look(policy, obs), before)
    assert same(look(copy, obs), anew(copy, obs))


def test_predicting_counts_nothing(policy):
    policy.predict(observe(CURSOR))
    assert policy.encoder.spent == Spent()


def test_rows_of_one_position_draw_independently(policy):
    count = 6000
    obs = {name: leaf[[0]].repeat_interleave(count, 0) for name, leaf in tensors(policy).items()}
    th.manual_seed(0)
    with th.no_grad():
        actions, _, log_prob = policy.forward(obs)
    expected = look(policy, {name: leaf[:1] for name, leaf in obs.items()})[0][0]
    assert th.allclose(log_prob, expected[actions], atol=1e-5)
    found = th.bincount(actions, minlength=len(TAGS)) / count
    assert (found - expected.exp()).abs().max() < 4 * 0.5 / count**0.5
    pairs = (actions[1:] * len(TAGS) + actions[:-1]).bincount(minlength=9).reshape(3, 3) / (count - 1)
    assert (pairs - found[:, None] * found).abs().max() < 0.02
