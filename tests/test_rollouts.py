"""Rollouts of older weights: their ratios, which weights draw them, and that nothing else changes a result."""

import gymnasium
import pytest
import torch as th

from lm_gym.agents import REINFORCE
from lm_gym.agents.algorithms.behaviours import Samples
from lm_gym.agents.algorithms.estimators import coefficients
from lm_gym.agents.algorithms.importance import importance_ratios, ratio_logs, reweighted
from lm_gym.agents.algorithms.older_weights import WeightHistory
from tests.cases import word_level
from tests.rollouts import CASES, Apart, assert_same, build, learned
from tests.small import small

COPIES = 100_000


# ---------------------------------------------------------------------- ratios


def test_ratios_and_truncated_weights_by_hand():
    older = th.tensor([[0.5, 0.25, 0.5], [0.125, 0.75, 0.25]]).log()
    newer = th.tensor([[0.25, 0.5, 0.75], [0.5, 0.75, 0.125]]).log()
    ratios = importance_ratios(newer, older)
    th.testing.assert_close(ratios, th.tensor([[0.5, 2.0, 1.5], [4.0, 1.0, 0.5]]))
    wholes = th.tensor([0, 0, 1])  # two positions of one text, and one of another
    th.testing.assert_close(importance_ratios(newer, older, wholes), th.tensor([[1.0, 1.0, 1.5], [4.0, 4.0, 0.5]]))
    weights = th.tensor([[0.5, 0.5, 0.5], [0.25, 0.5, 0.5]])
    drawn = reweighted(Samples(th.zeros(2, 3, dtype=th.int64), newer, weights), ratios, 1.5)
    th.testing.assert_close(drawn.weights, th.tensor([[0.25, 0.75, 0.75], [0.375, 0.5, 0.25]]))
    logs = {name: float(value) for name, value in ratio_logs(ratios, 1.5).items()}
    assert logs == pytest.approx({"train/ratio_mean": 9.5 / 6, "train/ratio_max": 4.0, "train/ratio_truncated": 2 / 6})
    # plain without a baseline: c = ω min(ρ, 1.5) G
    G = th.tensor([[1.0, 2.0, 0.0], [2.0, 1.0, 4.0]])
    c = coefficients(G, drawn, baseline="none", advantage="plain", expected=0.0)
    th.testing.assert_close(c, th.tensor([[0.25, 1.5, 0.0], [0.75, 0.5, 1.0]]))


def test_reweighted_samples_of_whole_texts_give_the_gradient_of_the_current_policy():
    """Two positions whose common return is 1 only if both choices are 1: the exact gradient, from samples of π_old."""
    with th.random.fork_rng():
        th.manual_seed(0)
        older = th.tensor([[0.7, 0.3], [0.4, 0.6]]).log()
        logits = th.tensor([[0.2, 0.5], [0.1, -0.4]], requires_grad=True)
        log_probs = logits.log_softmax(-1)
        (true,) = th.autograd.grad(log_probs[:, 1].sum().exp(), logits, retain_graph=True)
        actions = th.multinomial(older.exp(), COPIES, replacement=True).T  # [K, Q]
        taken, before = (given.gather(1, actions.T).T for given in (log_probs, older))
        G = actions.prod(1, keepdim=True).expand(-1, 2).float()
        samples = Samples(actions, taken, th.full_like(before, 1 / COPIES))
        found = []
        for wholes in (None, th.tensor([0, 0])):
            drawn = reweighted(samples, importance_ratios(taken, before, wholes), 1e9)
            c = coefficients(G, drawn, baseline="leave_one_out", advantage="plain")
            found += th.autograd.grad((c * taken).sum(), logits, retain_graph=True)
    apart, whole = found
    th.testing.assert_close(whole, true, rtol=0, atol=0.01)
    assert not th.allclose(apart, true, rtol=0, atol=0.01)  # a position's own ratio alone is not enough


# ---------------------------------------------------------------------- which weights


def versions(lag, sync_every, updates):
    policy, recorded = th.nn.Linear(1, 1), {}
    history = WeightHistory(lag, sync_every, recorded)
    found = []
    for update in range(updates):
        history.record(update, policy)
        found.append((history.version(update), sorted(recorded), history.known_until(update)))
    return found


@pytest.mark.parametrize(
    ("lag", "sync_every", "expected"),
    [
        (0, 1, [(0, [0], 0), (1, [1], 1), (2, [2], 2), (3, [3], 3)]),
        (1, 1, [(0, [0], 1), (0, [0, 1], 2), (1, [1, 2], 3), (2, [2, 3], 4)]),
        (2, 1, [(0, [0], 2), (0, [0, 1], 3), (0, [0, 1, 2], 4), (1, [1, 2, 3], 5)]),
        (0, 2, [(0, [0], 1), (0, [0], 1), (2, [2], 3), (2, [2], 3)]),
        (1, 2, [(0, [0], 2), (0, [0], 2), (0, [0, 2], 4), (2, [2], 4)]),
    ],
)
def test_weights_of_a_rollout_by_hand(lag, sync_every, expected):
    assert versions(lag, sync_every, 4) == expected


def test_training_that_begins_again_forgets_older_weights():
    policy, recorded = th.nn.Linear(1, 1), {}
    history = WeightHistory(2, 1, recorded)
    for update in (0, 1, 2):
        history.record(update, policy)
    with th.no_grad():
        policy.weight.fill_(7.0)
    history.record(0, policy)
    assert sorted(recorded) == [0]
    assert recorded[0]["weight"].item() == 7.0


# ---------------------------------------------------------------------- results


@pytest.mark.parametrize("case", CASES)
def test_rollouts_drawn_apart_from_the_same_weights_change_nothing(case, names):
    """With lag 0, samples are the same, also with dropout; weights differ by rounding, as no gradients are computed."""
    agent = build(names, case)
    agent.rollouts = Apart()
    alone = build(names, case)
    before = [p.detach().clone() for p in alone.policy.parameters()]
    assert_same(learned(agent, 4), learned(alone, 4), atol=1e-5)
    after = alone.policy.parameters()
    assert max(float((p - b).detach().abs().max()) for p, b in zip(after, before, strict=True)) > 1e-3
    logged = agent.logger.name_to_value
    assert logged["train/ratio_mean"] == pytest.approx(1.0, abs=1e-5)
    assert logged["train/ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert logged["train/ratio_truncated"] == logged["train/lag"] == 0.0


@pytest.mark.parametrize("case", CASES)
def test_older_weights_are_drawn_from_and_change_the_result(case, names):
    agent = learned(build(names, case, lag=1), 3)
    logged = agent.logger.name_to_value
    assert logged["train/lag"] == pytest.approx(2 / 3)  # 0, 1, 1
    assert logged["train/ratio_max"] != 1.0
    other = learned(build(names, case), 3)
    pairs = zip(agent.policy.parameters(), other.policy.parameters(), strict=True)
    assert any(not th.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("lag", "sync_every"), [(2, 1), (1, 2)])
def test_resuming_is_exact(case, lag, sync_every, names, tmp_path):
    given = {"lag": lag, "sync_every": sync_every}
    learned(build(names, case, **given), 3).save(tmp_path / "agent")
    resumed = REINFORCE.load(tmp_path / "agent", env=build(names, case).env, device="cpu")
    resumed.rollouts = Apart()  # where they are drawn may change
    assert_same(learned(resumed, 6), learned(build(names, case, **given), 6))


def test_a_saved_agent_holds_older_weights_only_if_it_needs_them(names, tmp_path):
    for lag, kept in ((0, []), (2, [1, 2, 3])):
        agent = build(names, "samples", lag=lag)
        agent.rollouts = Apart()
        learned(agent, 4).save(tmp_path / str(lag))
        assert sorted(REINFORCE.load(tmp_path / str(lag))._recorded) == kept


@pytest.mark.parametrize("case", ["one step", "several steps"])
def test_truncated_rollouts_of_lag_two_still_teach(case):
    """Texts of a single token: a policy that chose it as often as others does so nearly always after 30 updates."""
    ids = {"one step": "lm_gym/MaskedLM-v0", "several steps": "lm_gym/Unmasking-v0"}
    env = gymnasium.make_vec(
        ids[case], num_envs=16, dataset={"train": [{"tokens": list(text)} for text in ("1", "11", "111")]},
        tokenizer=word_level("12"), unit="sequence", reward="accuracy", autoreset_mode="SameStep",
        **({} if case == "one step" else {"order": "left_to_right"}),
    )  # fmt: skip
    samples = {"samples": 4, "advantage": "plain", "behaviour": "policy"} if case == "one step" else {}
    policy = {**small(env), "dropout": 0.0}
    agent = REINFORCE("LMPolicy", env, 1e-2, policy_kwargs=policy, seed=0, lag=2, max_ratio=1.2, **samples)
    learned(agent, 1)
    assert accuracy(agent) < 0.5
    learned(agent, 10)
    assert agent.logger.name_to_value["train/ratio_truncated"] > 0.05
    learned(agent, 30)
    assert accuracy(agent) > 0.95


def accuracy(agent):
    return sum(info["r"] / info["l"] for info in agent.ep_info_buffer) / len(agent.ep_info_buffer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_ratio": 0.5}, "max_ratio must be at least 1, got 0.5"),
        ({"lag": -1}, "lag must be at least 0, got -1"),
        ({"sync_every": 0}, "sync_every must be at least 1, got 0"),
        (
            {"samples": "all", "lag": 1},
            r"lag=1 and sync_every=1 draw .* samples='all' learns from every choice",
        ),
    ],
)
def test_bad_values_are_refused_in_one_line(given, message, names):
    with pytest.raises(ValueError, match=message) as error:
        build(names, "samples", **given)
    assert "\n" not in str(error.value)
