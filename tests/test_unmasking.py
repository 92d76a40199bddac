"""Unmasking: puzzles, orders, steps, and the likelihood of trajectories."""

import hashlib
import itertools
import json

import gymnasium
import numpy as np
import pytest
import torch as th

import lm_gym
from lm_gym.agents import LMPolicy, Supervised, evaluate
from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.algorithms.trajectories import Trajectories
from lm_gym.agents.evaluation.page import Facts, page
from lm_gym.agents.evaluation.played import play_text
from lm_gym.agents.model.waiting import WaitHead
from lm_gym.agents.train import main
from lm_gym.builtin.puzzles import arithmetic_splits, num_solutions, sudoku_class, sudoku_grids, sudoku_splits
from lm_gym.tasks import Prediction
from lm_gym.tasks.decoding_order import SCORES, most_certain, next_in_order, random_order, up_to_block
from lm_gym.tasks.unmasking_options import UnmaskingOptions
from tests.cases import tokenizer, word_level
from tests.small import SMALL

ID = "lm_gym/Unmasking-v0"
PUZZLES_SHA256 = "b4a1de2a29159a49a43077b45b1716e164a12989ce52171be51bab8bd27837b3"
ROWS = [{"tokens": list("1234"), "clues": [1]}, {"tokens": list("4321"), "clues": []}]


def make(num_envs=2, rows=ROWS, **options):
    source = {"dataset": {"train": rows}, "tokenizer": tokenizer(ID)}
    return gymnasium.make_vec(ID, num_envs=num_envs, autoreset_mode="Disabled", **source, **options)


def begun(env, text=1):
    """Return the observation of a text, repeated in every row."""
    return env.reset(options={"indices": np.full(env.num_envs, text)})[0]


# ---------------------------------------------------------------------- puzzles


@pytest.fixture(scope="module")
def sudoku():
    return sudoku_splits()


def test_puzzles_are_what_they_were(sudoku):
    text = json.dumps([sudoku, arithmetic_splits()], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PUZZLES_SHA256


def test_every_sudoku_has_one_solution(sudoku):
    assert sudoku_grids().shape == (288, 16)
    for split in sudoku.values():
        for puzzle in split:
            assert num_solutions([int(digit) for digit in puzzle["tokens"]], puzzle["clues"]) == 1
            assert 4 <= len(puzzle["clues"]) <= 12


def test_splits_share_no_grid_up_to_symmetry(sudoku):
    classes = {
        split: {sudoku_class(np.array(grid)) for grid in {tuple(map(int, puzzle["tokens"])) for puzzle in puzzles}}
        for split, puzzles in sudoku.items()
    }
    for one, other in itertools.combinations(classes.values(), 2):
        assert not one & other
    grid = sudoku_grids()[17]
    turned = np.rot90(grid.reshape(4, 4).T).ravel()
    assert sudoku_class(np.array([0, 3, 1, 4, 2])[turned]) == sudoku_class(grid)


def test_sums_are_right_and_no_pair_is_in_two_splits():
    pairs = {}
    for split, sums in arithmetic_splits().items():
        pairs[split] = set()
        for record in sums:
            asked, _, result = "".join(record["tokens"]).partition("=")
            assert sum(map(int, asked.split("+"))) == int(result)
            assert record["clues"] == list(range(len(asked) + 1))
            pairs[split].add(frozenset(asked.split("+")))
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["validation"]


def test_a_clue_that_is_no_word_is_refused():
    with pytest.raises(lm_gym.data.DataError, match="text 0: the clue 4 is not a word of it"):
        make(rows=[{"tokens": list("1234"), "clues": [4]}])


# ---------------------------------------------------------------------- orders and steps


def test_clues_are_no_positions():
    env = make()
    observation = begun(env, 0)
    assert observation["positions"][0].tolist() == [1, 3, 4, 0]
    assert make(clues=False).task.encoded.counts.tolist() == [4, 4]


def test_a_fixed_order_decides_so_many_a_step_and_no_block_in_part():
    env = make(unit="sequence", per_step=2, block_size=3)
    dues = [begun(env)["due"][0].tolist()]
    for _ in range(2):
        observation, *_ = env.step(np.full((2, 4), 5))
        dues.append(observation["due"][0].tolist())
    assert dues == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert (observation["input_ids"][0, 1:4] == 5).all()  # decided tokens are part of later observations


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_a_random_order_is_a_permutation_that_a_visit_decides(unit):
    orders = []
    for seed in (1, 1, 2):
        env = make(16, unit=unit, order="random", group_size=2)
        env.reset(seed=seed)
        orders.append(env.episodes.order.copy())
    assert (np.sort(orders[0], axis=1) == np.arange(4)).all()
    assert (orders[0][::2] == orders[0][1::2]).all()
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_the_surest_positions_come_first():
    env = make(unit="sequence", actions="distribution", order="confidence", per_step=1)
    begun(env)
    scores = np.zeros((2, 4, 17), np.float32)
    scores[:, [0, 1, 2, 3], [5, 6, 7, 8]] = [1.0, 3.0, 2.0, 0.5]
    observation, *_, info = env.step(scores)
    assert observation["predictions"][0].tolist() == [17, 6, 17, 17]
    assert info["decided"].tolist() == [1, 1]


def test_a_threshold_decides_more_where_the_policy_is_sure():
    env = make(unit="sequence", actions="distribution", order="margin", threshold=0.5)
    begun(env)
    scores = np.zeros((2, 4, 17), np.float32)
    scores[0, [0, 1, 2, 3], 5] = [9.0, 8.0, 0.0, 9.0]
    assert env.step(scores)[4]["decided"].tolist() == [3, 1]


def test_scores_by_hand():
    log_probs = np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    assert SCORES["confidence"](log_probs) == pytest.approx([0.5, 0.8])
    assert SCORES["margin"](log_probs) == pytest.approx([0.25, 0.7])
    assert SCORES["entropy"](log_probs)[0] == pytest.approx(-1.5 * np.log(2))


def test_orders_by_hand():
    keys, counts = np.array([[7, 1, 5, 2], [9, 8, 3, 0]], np.uint64), np.array([4, 3])
    assert random_order(keys, counts, None).tolist() == [[1, 3, 2, 0], [2, 1, 0, 3]]  # slot 3 of the second is padded
    assert random_order(keys, counts, 2).tolist() == [[1, 0, 3, 2], [1, 0, 2, 3]]
    order, decided = np.array([[3, 1, 0, 2], [0, 1, 2, 3]]), np.array([1, 0])
    assert next_in_order(order, decided, 2, None).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert next_in_order(order, decided, 3, 2).astype(int).tolist() == [[0, 1, 0, 0], [1, 1, 0, 0]]
    assert up_to_block(np.array([1, 2]), 4, 2).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert up_to_block(np.array([1, 2]), 4, None).all()
    due, scores = np.array([[True, True, False, True]]), np.array([[0.2, 0.7, 0.9, 0.7]])
    assert most_certain(due, scores, np.array([1])).astype(int).tolist() == [[0, 1, 0, 0]]
    assert most_certain(due, scores, np.array([4])).tolist() == due.tolist()


@pytest.mark.parametrize(("leave_open", "decided"), [(False, 4), (True, 2)])
def test_the_last_step_decides_the_rest_unless_it_stays_open(leave_open, decided):
    env = make(unit="sequence", max_steps=2, leave_open=leave_open, reward="accuracy")
    begun(env)
    gold = np.where(env.targets < 17, env.targets, 0)
    assert not env.step(gold)[2].any()
    observation, rewards, ended, _, info = env.step(gold)
    assert ended.all()
    assert observation["steps_left"].tolist() == [[0], [0]]
    assert 1 + info["decided"][0] == decided
    assert rewards.tolist() == [decided - 1] * 2


def test_an_action_may_wait_and_a_step_costs():
    env = make(unit="sequence", order="learned", max_steps=2, step_cost=0.25, reward="accuracy")
    begun(env)
    assert env.single_action_space.nvec.tolist() == [18] * 4
    some = env.targets.copy()
    some[0, :] = 17
    _, rewards, ended, *_ = env.step(some)
    assert rewards.tolist() == [-0.25, 3.75]
    assert ended.tolist() == [False, True]


def test_a_text_that_ends_open_gets_the_least_that_a_position_pays():
    env = make(unit="sequence", order="learned", max_steps=1, reward="log_likelihood")
    begun(env)
    _, rewards, *_ = env.step(np.full((2, 4), 17))
    assert rewards == pytest.approx([4 * env.reward.minimum] * 2)


def test_exact_match_is_paid_at_the_end():
    env = make(unit="sequence", per_step=3, reward="exact_match")
    begun(env)
    actions = env.targets.copy()
    actions[1, 3] = 5 if actions[1, 3] != 5 else 6
    assert env.step(actions)[1].tolist() == [0.0, 0.0]
    assert env.step(actions)[1].tolist() == [1.0, 0.0]


def test_masks_filled_in_one_by_one_are_unmasking_from_left_to_right():
    source = {"dataset": "builtin/masked_lm", "max_length": 24, "reward": "accuracy", "mask_probability": 0.5}
    filled = gymnasium.make_vec("lm_gym/MaskedLM-v0", 4, fill="sequential", autoreset_mode="SameStep", **source)
    unmasked = gymnasium.make_vec(ID, 4, autoreset_mode="SameStep", **source)
    rng = np.random.default_rng(0)
    one, other = filled.reset(seed=5)[0], unmasked.reset(seed=5)[0]
    for _ in range(40):
        assert all(np.array_equal(one[name], other[name]) for name in one)
        actions = rng.integers(0, 4096, 4)
        (one, *paid, _), (other, *also, _) = filled.step(actions), unmasked.step(actions)
        assert np.array_equal(paid, also)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "randm"}, "did you mean 'random'"),
        ({"per_step": 0}, "per_step"),
        ({"threshold": 0.5}, "order by the policy's distributions"),
        ({"order": "learned"}, "give max_steps"),
        ({"order": "learned", "max_steps": 3, "per_step": 2}, "leave it at 1"),
        ({"leave_open": True}, "give max_steps"),
        ({"per_step": None, "step_cost": 0.1}, "decides a text in one step"),
        ({"mask_probability": 0.0}, "mask_probability"),
        ({"step_cost": -1.0}, "step_cost"),
        ({"remask": True}, "needs order='learned'"),
        ({"order": "learned", "max_steps": 3, "remask_cost": 0.1}, "set remask=True"),
        ({"order": "learned", "max_steps": 3, "leave_open": True}, "says what stays open"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UnmaskingOptions(**options)


# ---------------------------------------------------------------------- agents


def small_policy(env, vocabulary=17, **arguments):
    th.manual_seed(0)
    return LMPolicy(
        env.single_observation_space,
        env.single_action_space,
        lambda _: 0.0,
        **arguments,
        model={**SMALL, "vocab_size": vocabulary, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )


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


def test_a_group_ends_when_its_last_row_does():
    env = make(2, unit="sequence", order="learned", max_steps=3, group_size=2, step_cost=0.5, reward="accuracy")
    begun(env)
    actions = env.targets.copy()
    actions[1] = 17  # this row waits; the other row of its group has finished
    outcomes = [env.step(actions) for _ in range(3)]
    assert [rewards.tolist() for _, rewards, *_ in outcomes] == [[3.5, -0.5], [0.0, -0.5], [0.0, -0.5]]
    assert [ended.tolist() for _, _, ended, *_ in outcomes] == [[False, False], [False, False], [True, True]]
    assert not outcomes[0][0]["due"][0].any()


# ---------------------------------------------------------------------- opening positions again


def remasking(**options):
    return make(2, unit="sequence", order="learned", max_steps=4, remask=True, remask_cost=0.25, **options)


def test_a_filled_position_is_opened_again_at_a_price():
    env = remasking(reward="accuracy")
    begun(env)
    gold, n, mask = env.targets, 17, env.task.tokenizer.mask
    first = np.array([[gold[0, 0], n, n, n], [gold[1, 0], gold[1, 1] % 5 + 5, n, n]])
    first[1, 1] = 5 if gold[1, 1] != 5 else 6  # a wrong token
    observation, rewards, *_ = env.step(first)
    assert rewards.tolist() == [1.0, 1.0]
    assert observation["due"].all()
    back = np.array([[n, n, n, n], [7, n, gold[1, 2], n]])  # 7 keeps the token, it does not replace it
    observation, rewards, _, _, info = env.step(back)
    assert rewards.tolist() == [-1.0 - 0.25, 0.0 + 1.0 - 0.25]  # the reward of a right token is taken back
    assert info["decided"].tolist() == [0, 1]
    assert observation["predictions"].tolist() == [[n, n, n, n], [gold[1, 0], n, gold[1, 2], n]]
    assert (observation["input_ids"][0, 1:5] == mask).all()
    assert observation["input_ids"][1, 1:5].tolist() == [gold[1, 0], mask, gold[1, 2], mask]
    _, rewards, ended, *_ = env.step(gold)
    assert rewards.tolist() == [4.0, 2.0]
    assert ended.all()


def test_the_last_step_opens_nothing():
    env = remasking()
    begun(env)
    some = env.targets.copy()
    some[:, 0] = 17
    for _ in range(3):
        observation = env.step(some)[0]
    assert observation["due"].tolist() == [[1, 0, 0, 0]] * 2


@pytest.mark.parametrize("reward", ["log_likelihood", "exact_match", lambda p, t, m: np.where(m, p == t, 0.0)])
def test_rewards_of_a_text_do_not_depend_on_what_was_taken_back(reward):
    totals = []
    for detours in (False, True):
        env = remasking(reward=reward, step_cost=0.0)
        begun(env)
        gold, total = env.targets, np.zeros(2)
        if detours:
            wrong = np.full((2, 4), 17)
            wrong[:, 0] = 5
            total += env.step(wrong)[1]
            total += env.step(np.full((2, 4), 17))[1] + 0.25
        total += env.step(gold)[1]
        totals.append(total.tolist())
    assert totals[0] == pytest.approx(totals[1])


def test_a_policy_takes_tokens_back():
    env = remasking()
    policy = small_policy(env)
    policy.set_training_mode(False)
    observation = begun(env)
    filled = env.targets.copy()
    filled[:, 2:] = 17
    observation = env.step(filled)[0]
    with th.no_grad():
        obs, _ = policy.obs_to_tensor(observation)
        packed = policy.positions(obs)
        at = packed.unpack(packed.log_probs.exp())
        assert at[..., 17][:, :2] == pytest.approx(np.full((2, 2), 1 / (1 + np.exp(4.0))), abs=1e-5)
        assert (at[:, 0].gather(1, th.as_tensor(filled[:, :1])) + at[:, 0, 17:]).flatten().tolist() == pytest.approx(
            [1, 1]
        )
        assert policy.predict(observation, deterministic=True)[0][:, :2].tolist() == filled[:, :2].tolist()
        policy.wait_head.reopen.bias.fill_(4.0)
        assert (policy.predict(observation, deterministic=True)[0][:, :2] == 17).all()
    policy.evaluate_actions(obs, th.as_tensor(policy.predict(observation)[0]))[1].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
    assert policy.wait_head.reopen.bias.grad.item() != 0.0
    assert evaluate(policy, remasking()).steps.max() <= 4


def test_a_page_of_texts_in_steps_has_a_slider(tmp_path):
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


def test_ppo_learns_an_order_from_the_command_line(tmp_path, capsys):
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
    assert rows["metrics"]["validation"]["steps"] <= 3.0


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
