"""Agents that unmask: the likelihood of trajectories, waiting, evaluations, and runs."""

import itertools
import json

import gymnasium
import numpy as np
import pytest
import torch as th

from lm_gym.agents import LMPolicy, Supervised, evaluate
from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.algorithms.trajectories import Trajectories
from lm_gym.agents.evaluation.page import Facts, page
from lm_gym.agents.evaluation.played import play_text
from lm_gym.agents.model.waiting import WaitHead
from lm_gym.agents.train import main
from lm_gym.tasks import Prediction
from tests.cases import word_level
from tests.puzzles import ID, begun, make, small_policy
from tests.small import SMALL


@pytest.mark.parametrize(
    "options",
    [
        {"order": "random"},
        {"per_step": 2},
        {"order": "learned", "max_steps": 2},
        {"order": "learned", "max_steps": 3, "remask": True},
    ],
)
def test_the_probabilities_of_all_trajectories_sum_to_one(options):
    """Enumerate the trajectories of a text with two masks and seven tokens, with the policy's probability of each."""
    rows = [{"tokens": list("121"), "clues": [0]}]
    arguments = {"dataset": {"train": rows}, "tokenizer": word_level("12"), "autoreset_mode": "Disabled"}
    env = gymnasium.make_vec(ID, 1, unit="sequence", **arguments, **options)
    policy = small_policy(env, 7)
    policy.set_training_mode(False)

    def all_that_follows(state) -> float:
        """Return the total probability of all continuations of a state."""
        observation = env.set_state(state)
        nvec, due = env.single_action_space.nvec[0], observation["due"][0]
        actions = np.array(list(itertools.product(*(range(nvec) if here else [0] for here in due))))
        obs, _ = policy.obs_to_tensor({name: np.repeat(leaf, len(actions), 0) for name, leaf in observation.items()})
        with th.no_grad():
            probabilities = policy.evaluate_actions(obs, th.as_tensor(actions))[1].exp().tolist()
        total = 0.0
        for action, probability in zip(actions, probabilities, strict=True):
            if probability > 0:
                env.set_state(state)
                ended = env.step(action[None])[2][0]
                total += probability * (1.0 if ended else all_that_follows(env.get_state()))
        return total

    env.reset(seed=0)
    assert all_that_follows(env.get_state()) == pytest.approx(1.0, abs=1e-4)


def test_the_other_rows_of_a_group_are_a_baseline():
    rewards = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0], [1.0, 1.0]], np.float32)
    running = np.array([[True, True], [True, False], [True, True], [True, True]])
    episodes = Trajectories(np.zeros(7), np.zeros(7), rewards, running)
    assert episodes.leave_one_out(1.0, 2).tolist() == [3.0, 0.0, 3.0, 2.0, 1.0, 5.0, 5.0]


def test_the_twin_gives_every_text_the_same_weight():
    losses = {}
    for weighting in ("position", "text", "auto"):
        env = make(2, unit="sequence", per_step=None)
        agent = Supervised("LMPolicy", env, policy_kwargs={"model": {**SMALL, "vocab_size": 17}}, seed=0)
        agent.weighting = weighting
        observation, _ = env.reset(options={"indices": np.array([0, 1])})
        agent.policy.set_training_mode(False)
        obs, _ = agent.policy.obs_to_tensor(observation)
        update = agent._update(obs, agent._texts(agent.env))
        packed = agent.policy.positions(obs)
        each = -packed.log_probs.detach().gather(1, packed.pick(env.targets)[:, None]).squeeze(1)
        losses[weighting] = float(update.loss.detach())
    assert losses["position"] == pytest.approx(float(each.mean()))
    assert losses["text"] == losses["auto"] == pytest.approx(float((each[:3].mean() + each[3:].mean()) / 2))


def test_an_evaluation_plays_texts_to_their_end():
    env = make(3, unit="sequence", actions="distribution", order="confidence", per_step=3, reward="accuracy")

    def oracle(batch):
        gold = np.minimum(batch.targets, 16)
        return Prediction(gold, np.zeros(gold.shape, np.float32), np.tile([0.1, 0.4, 0.3, 0.2], (3, 1)))

    played = evaluate(oracle, env)
    assert played.metrics["exact"] == played.metrics["accuracy"] == 1.0
    assert played.steps.tolist() == [1, 2]
    assert played.returns.tolist() == [3.0, 4.0]
    wrong = evaluate(lambda batch: Prediction(np.full(batch.targets.shape, 5), None), env)
    assert wrong.metrics["exact"] == 0.0
    assert wrong.metrics["steps"] == 1.5


def test_a_wait_head_splits_a_distribution_and_is_saved(tmp_path):
    head = WaitHead(4)
    log_probs = th.log_softmax(th.randn(3, 5), -1)
    rows = th.tensor([0, 0, 1])
    tokens = th.tensor([5, 5, 5])
    said = head(th.randn(3, 4), log_probs, log_probs, rows, th.tensor([False, True, False]), tokens).detach()
    assert said.exp().sum(-1) == pytest.approx([1.0] * 3, abs=1e-5)
    assert said[1, -1] == -th.inf
    assert th.allclose(said[:, :-1].log_softmax(-1), log_probs, atol=1e-5)
    env = make(2, unit="sequence", order="learned", max_steps=3)
    policy = small_policy(env)
    with th.no_grad():
        policy.wait_head.linear.bias.fill_(-0.5)
    policy.save_pretrained(tmp_path)
    again = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, model=str(tmp_path))
    assert again.wait_head.linear.bias.item() == -0.5


def test_the_most_probable_step_decides_something():
    env = make(2, unit="sequence", order="learned", max_steps=9)
    policy = small_policy(env)
    with th.no_grad():
        policy.wait_head.linear.bias.fill_(-20.0)
    observation = begun(env)
    actions, _ = policy.predict(observation, deterministic=True)
    assert (actions < 17).sum(1).tolist() == [1, 1]


def test_a_page_of_texts_in_steps_has_a_slider():
    env = make(1, unit="sequence", per_step=2)
    texts = [play_text(small_policy(env), env, text) for text in (0, 1)]
    assert [position.step for position in texts[1].positions] == [1, 1, 2, 2]
    source = page(Facts("run", "algo", "data", "train", 2), texts)
    assert source.count('type="range" min="0" max="2"') == 2
    assert source.count('data-step="2"') == 3
    assert source.count("<script>") == 1


def test_a_run_is_compared_with_other_orders_of_as_many_steps(tmp_path):
    texts = [
        "one two three four",
        "two three four one",
        "three four one two",
        "four one two three",
        "one three two four",
    ]
    (tmp_path / "train.txt").write_text("\n".join(texts * 3))
    given = {
        "run_dir": tmp_path / "run",
        "algo": "supervised",
        "env.id": ID,
        "env.dataset": tmp_path / "train.txt",
        "env.num_envs": 4,
        "env.per_step": 2,
        "evaluation.num_envs": 4,
        "budget.passes": 1,
    }
    main([f"--{key}={value}" for key, value in given.items()])
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["baselines"]
    assert {"random order", "confidence order"} <= set(rows)
    assert rows["random order"]["steps"] == rows["confidence order"]["steps"] == 2.0


def test_equal_texts_are_read_once_and_finished_ones_never():
    env = make(4, unit="sequence", order="learned", max_steps=3, group_size=4)
    policy = small_policy(env)
    observation = begun(env)
    actions = env.targets.copy()

    def read(observation) -> int:
        before = policy.encoder.spent.texts
        policy.evaluate_actions(policy.obs_to_tensor(observation)[0], th.as_tensor(actions))
        return policy.encoder.spent.texts - before

    assert read(observation) == 1  # four rows begin with the same masks
    actions[1:, 0] = 17
    actions[3, 1] = 17
    observation = env.step(actions)[0]
    assert read(observation) == 2  # one row has finished, and two of the others are alike


def test_ppo_learns_an_order_from_the_command_line(tmp_path):
    (tmp_path / "train.txt").write_text(
        "\n".join(["one two three four", "two three four one", "four one two three"] * 4)
    )
    given = {
        "run_dir": tmp_path / "run",
        "algo": "ppo",
        "env.id": ID,
        "env.dataset": tmp_path / "train.txt",
        "env.order": "learned",
        "env.max_steps": 3,
        "env.num_envs": 4,
        "env.group_size": 1,
        "evaluation.num_envs": 4,
        "budget.passes": 1,
    }
    main([f"--{key}={value}" for key, value in given.items()])
    rows = json.loads((tmp_path / "run" / "report.json").read_text())
    assert 1.0 <= rows["metrics"]["validation"]["steps"] <= 3.0
    assert rows["backward_passes"] > 0


def test_a_search_moves_the_head_that_waits(recwarn):
    env = make(4, unit="sequence", order="learned", max_steps=3, reward="accuracy", step_cost=0.2)
    model = {**SMALL, "vocab_size": 17}
    agent = find_algorithm("es")(
        "LMPolicy", env, policy_kwargs={"model": model, "freeze": ["*"]}, optimizer_kwargs={"sigma": 3.0}, seed=0
    )
    assert {block.name.partition(".")[0] for block in agent.space.blocks} == {"wait_head"}
    before = [p.detach().clone() for p in agent.policy.wait_head.parameters()]
    agent.learn(1)
    assert any((p != old).any() for p, old in zip(agent.policy.wait_head.parameters(), before, strict=True))
    assert not [str(warning.message) for warning in recwarn if "one after another" in str(warning.message)]


def test_a_temperature_sharpens_tokens_and_leaves_the_decision_to_fill():
    env = make(2, unit="sequence", order="learned", max_steps=3)
    warm, cold = small_policy(env), small_policy(env, temperature=0.5)
    obs, _ = warm.obs_to_tensor(begun(env))
    with th.no_grad():
        warm, cold = (policy.eval().positions(obs) for policy in (warm, cold))
    assert th.allclose(warm.log_probs[:, -1], cold.log_probs[:, -1], atol=1e-5)
    assert th.allclose(th.log_softmax(2 * warm.of_tokens(), -1), cold.of_tokens(), atol=1e-5)
