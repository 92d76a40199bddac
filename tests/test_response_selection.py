"""Response selection: candidates in the text, the pointer head, relevance, banks, the builtin customer service."""

import contextlib
import hashlib
import io
import json
import re

import gymnasium
import numpy as np
import pytest
import torch
from policies import ARCHITECTURES, SIZES
from transformers import AutoConfig, AutoModelForTokenClassification

import lm_gym
from lm_gym.agents import LMPolicy, evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.evaluation.playing import baselines
from lm_gym.agents.model.pointer import ABSENT, Pointer, pointer_logits
from lm_gym.agents.predict import main as predict
from lm_gym.agents.reply import main as reply
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.train import main as train
from lm_gym.builtin.names import SPLITS, own_words
from lm_gym.builtin.replies import reply_splits, sentences
from lm_gym.data import DataError
from lm_gym.tasks import Evaluation, load_data
from lm_gym.tasks.response_selection import ResponseSelection
from tests.cases import word_level
from tests.small import small

ID = "lm_gym/ResponseSelection-v0"
REPLIES_SHA256 = "2b8be8f3c631c4f23b615d2f02a28fe590f2ede081ab8ef2e35e3b8f992b2107"
TOKENIZER = word_level(["a", "b", "c", "d", "e", "x", "y", "z"])
RECORDS = [
    {"turns": ["a", "b"], "message": "c d", "candidates": ["x y", "z", "x"], "answer": 1},
    {"turns": [], "message": "e", "candidates": ["y", "z"], "answer": 0},
]


def make(records=RECORDS, num_envs=2, **options):
    given = {"unit": "sequence", "tokenizer": TOKENIZER, "sampling": "sequential", "autoreset_mode": "SameStep"}
    data = load_data(ResponseSelection, records) if isinstance(records, list) else records
    return gymnasium.make_vec(ID, num_envs=num_envs, dataset=data, **{**given, **options})


def policy_of(env, **more):
    task = env.unwrapped.task
    arguments = {**task.policy_arguments, **small(env), **more}
    return LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, **arguments).eval()


def shown(env, row=0):
    ids = env.reset(seed=0)[0]["input_ids"][row]
    return " ".join(TOKENIZER.id_to_token(id_) for id_ in ids.tolist()).replace(" [PAD]", "")


# ---------------------------------------------------------------------- texts


def test_candidates_stand_in_the_text_before_their_markers():
    assert shown(make()) == "[CLS] a [SEP] b [SEP] c d [MASK] x y [MASK] z [MASK] x [MASK] [SEP]"
    assert shown(make(), 1) == "[CLS] e [MASK] y [MASK] z [MASK] [SEP]"
    assert shown(make(abstain=True), 1) == "[CLS] e [MASK] y [MASK] z [MASK] [MASK] [SEP]"
    assert shown(make(marker="[UNK]"), 1) == "[CLS] e [UNK] y [UNK] z [UNK] [SEP]"


def test_a_long_context_loses_its_beginning_and_no_candidate():
    long = [{"message": "a b c d e a b c d e a b", "candidates": ["x y", "z"], "answer": 0}]
    env = make(long, num_envs=1, max_length=16)
    assert shown(env) == "[CLS] d e a b c d e a b [MASK] x y [MASK] z [MASK] [SEP]".replace("[CLS] d e", "[CLS] e", 1)
    assert env.unwrapped.cut == (1, 0)


@pytest.mark.parametrize("relevance", [[0, 2, 1], [0.0, 0.5, 0.5]])
def test_the_target_is_the_first_of_the_most_relevant(relevance):
    graded = [{"message": "a", "candidates": ["x", "y", "z"], "relevance": relevance}]
    env = make(graded, num_envs=1)
    env.reset(seed=0)
    assert env.unwrapped.targets.tolist() == [[1]]
    assert env.unwrapped.task.gains(np.zeros(1, np.int64)).tolist() == [relevance]


def test_legal_choices_are_the_candidates_of_each_text():
    for unit in ("token", "sequence"):
        env = make(unit=unit, mask_actions=True)
        observation, _ = env.reset(seed=0)
        assert env.unwrapped.action_masks().tolist() == [[True, True, True], [True, True, False]]
        assert observation["action_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"candidates": []}, {}, "the list of candidates is empty"),
        ({"candidates": ["x", "x"], "answer": 0}, {}, "two candidates are the same"),
        ({"answer": 3}, {}, "answer 3, but there are 3 candidates"),
        ({"answer": 0.5}, {}, r"answer 0\.5"),
        ({"answer": -1}, {}, "no candidate is right"),
        ({"answer": None, "relevance": [0, 1]}, {}, "3 (texts|items|candidates)|2 numbers|relevance"),
        ({"answer": None, "relevance": [0, -1, 1]}, {}, "relevance -1"),
        ({"answer": None, "relevance": [0, 0, 0]}, {}, "no candidate is right"),
        ({"answer": None}, {}, "do not tell the right reply"),
        ({"reply": "z"}, {}, "have answer and reply"),
        ({"candidates": None, "answer": None}, {}, "no candidates"),
        ({}, {"max_length": 14}, r"3 candidates need 7 .*1 of them do not fit \('x'\)|candidates need"),
        ({"message": "a [MASK]"}, {}, r"a text contains '\[MASK\]'"),
        ({}, {"marker": "[SEP]"}, "frames every text"),
        ({}, {"marker": "nope"}, "no token 'nope'"),
        ({}, {"bank": "nowhere.jsonl"}, "nowhere"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    record = {**RECORDS[0], **change}
    record = {name: value for name, value in record.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        make([record], num_envs=1, **options)


# ---------------------------------------------------------------------- a bank of replies


def bank_of(folder, *replies):
    path = folder / "bank.jsonl"
    path.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies), encoding="utf-8")
    return str(path)


ASKED = [{"message": "a b", "reply": "x a b"}, {"message": "c d", "reply": "z"}, {"message": "d", "reply": "y"}]


def test_a_bank_gives_candidates_by_bm25_and_the_right_one(tmp_path):
    bank = bank_of(tmp_path, "x a b", "y c", "c d e", "x a b", "z")
    with pytest.warns(UserWarning, match=r"1 of 5 replies|BM25 does not find"):
        env = make(ASKED, num_envs=3, bank=bank, k=2)
    task = env.unwrapped.task
    listed = [{" ".join(words) for words in task.candidates.of(text)} for text in range(3)]
    assert "x a b" in listed[0]
    assert listed[1] == {"c d e", "z"}  # BM25 prefers replies that share words; the right reply takes the last place
    assert "y" in listed[2]  # although it is not in the bank
    env.reset(seed=0)
    right = [" ".join(task.choice_words(text, int(env.unwrapped.targets[text, 0]))) for text in range(3)]
    assert right == ["x a b", "z", "y"]


def test_a_bank_serves_records_with_candidates_too(tmp_path):
    with pytest.warns(UserWarning, match="BM25 does not find"):
        env = make(bank=bank_of(tmp_path, "z", "x y"), k=2)
    assert {" ".join(words) for words in env.unwrapped.task.candidates.of(1)} == {"y", "z"}
    env.reset(seed=0)
    assert env.unwrapped.task.choice_words(1, int(env.unwrapped.targets[1, 0])) == ["y"]


# ---------------------------------------------------------------------- rewards and metrics


def test_relevance_pays_what_a_reply_is_worth():
    graded = [{"message": "a", "candidates": ["x", "y", "z"], "relevance": [0, 2, 0.5]}]
    env = make(graded, num_envs=1, abstain=True, reward="relevance", reward_kwargs={"wrong_cost": 3.0})
    env.reset(seed=0)
    paid = [float(env.unwrapped.position_rewards(np.array([[choice]]))[0, 0]) for choice in range(4)]
    assert paid == [0.0, -3.0, 2.0, 0.5]
    gold, others = env.unwrapped.choice_rewards()
    assert gold.tolist() == [[2.0]]
    assert others.tolist() == [[paid]]
    assert env.unwrapped.reward.minimum == -3.0


def test_metrics_are_those_computed_by_hand():
    env = make([*RECORDS, {"turns": [], "message": "b", "candidates": ["x", "y"], "answer": -1}], abstain=True)
    offsets, flat = np.arange(4), {"choices": [0, 2, 0], "targets": [2, 1, 0], "places": [0, 0, 0]}
    arrays = {name: np.array(values) for name, values in flat.items()}
    played = Evaluation(
        env.unwrapped.task, np.arange(3), offsets, **arrays, target_log_probs=None,
        returns=np.zeros(3, np.float32), target_ranks=np.array([3, 2, 1]),
    )  # fmt: skip
    assert played.metrics["accuracy"] == pytest.approx(1 / 3)
    assert played.metrics["mrr"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert played.metrics["recall_at_2"] == pytest.approx(2 / 3)
    assert played.metrics["recall_at_3"] == 1.0
    assert played.metrics["abstention_rate"] == pytest.approx(2 / 3)
    assert played.metrics["selective_risk"] == 1.0


def test_baselines_choose_among_the_candidates():
    words = [
        {"message": "a b", "candidates": ["x", "a b c", "y z"], "answer": 1},
        {"message": "c", "candidates": ["x", "c d"], "answer": 0},
    ]
    env = make(words)
    found = {row.name: evaluate(row.make(env.unwrapped.task), env.unwrapped) for row in ResponseSelection.baselines}
    assert found["bm25"].choices.tolist() == [1, 1]
    assert found["bm25"].metrics["mrr"] == 0.75
    assert found["majority"].choices.tolist() == [0, 0]
    assert (found["random"].choices < [3, 2]).all()


# ---------------------------------------------------------------------- the pointer head


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


# ---------------------------------------------------------------------- builtin customer service


@pytest.fixture(scope="module")
def conversations():
    return reply_splits()


def test_the_conversations_are_unchanged(conversations):
    assert hashlib.sha256(json.dumps(conversations).encode()).hexdigest() == REPLIES_SHA256


def test_there_are_forty_intents_and_more(conversations):
    intents, _ = sentences()
    assert len(intents) >= 40
    for rows in conversations.values():
        assert {row["intent"] for row in rows} == set(intents)
    for intent in intents.values():
        assert len(intent.messages) == 6
        assert all(re.search(r"{(product|order|date)}", reply) for reply in intent.replies)


def test_splits_share_no_wording_and_no_product():
    intents, lists = sentences()
    for lines in ([*lists.values()], [intent.messages for intent in intents.values()]):
        for own in lines:
            parts = [set(own_words(own, split)) for split in SPLITS]
            assert all(parts)
            assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_replies_differ_by_one_slot(conversations):
    products = "|".join(sentences()[1]["products"])

    def blank(reply):
        return re.sub(rf"{products}|\d{{4}}|\d+ [A-Z][a-z]+", "_", reply)

    near = sum(
        len({blank(reply) for reply in row["candidates"]}) < len(row["candidates"]) for row in conversations["train"]
    )
    assert near > 0.2 * len(conversations["train"])
    assert sum(bool(row["turns"]) for row in conversations["train"]) > 0.3 * len(conversations["train"])


def test_classical_baselines_are_far_from_right():
    env = gymnasium.make_vec(ID, num_envs=64, unit="sequence", split="test")
    found = baselines(env.unwrapped)
    assert found["bm25"]["accuracy"] < 0.75
    assert found["majority"]["accuracy"] < 0.4
    assert found["random"]["accuracy"] < 0.4


def test_configuration_of_a_checkpoint_names_the_marker(tmp_path):
    policy = policy_of(make(abstain=True))
    policy.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.pointer == {"marker": TOKENIZER.token_to_id("[MASK]"), "abstains": True, "similarity": True}
    assert config.id2label == {0: "candidate"}


def test_the_task_is_registered():
    assert lm_gym.TASKS["response_selection"] is ResponseSelection
    with pytest.raises(DataError, match="no candidates"):
        make([{"message": "a", "answer": 0}], num_envs=1)


# ---------------------------------------------------------------------- runs and the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replies")
    rows = [{**RECORDS[1], "message": f"order {number} is late"} for number in range(6)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--env.id", ID, "--env.dataset", str(folder / "asked.jsonl"), "--env.abstain", "true"]
    arguments += ["--data.max_overlap", "1", "--env.num_envs", "4", "--budget.passes", "1"]
    with contextlib.redirect_stdout(io.StringIO()):
        train([*arguments, "--algo", "supervised", "--run_dir", str(folder / "run"), "--device", "cpu"])
    return folder / "run"


@pytest.mark.filterwarnings("always:.*are duplicates")
def test_the_command_ranks_replies(run, tmp_path, capsys, monkeypatch):
    bank = bank_of(tmp_path, "It comes tomorrow.", "I am sorry.", "Here is the order.", "I am sorry.")
    asked = tmp_path / "messages.jsonl"
    asked.write_text('My order is late\n\n{"message": "where is it", "turns": ["hello"]}\n', encoding="utf-8")
    reply([str(run), "--bank", bank, "--input", str(asked), "--k", "3", "--top", "9"])
    shown = capsys.readouterr()
    assert "1 of 4 replies" in shown.err
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["message"] for line in lines] == ["My order is late", "where is it"]
    for line in lines:
        replies = {entry["reply"] for entry in line["replies"]}
        assert replies == {None, "It comes tomorrow.", "I am sorry.", "Here is the order."}
        probabilities = [entry["probability"] for entry in line["replies"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    asked.write_text('\ufeff{"message": "where\u2028is it"}\nMy order\x0cis late\n', encoding="utf-8")
    reply([str(run), "--bank", bank, "--input", str(asked)])
    lines = [json.loads(line) for line in capsys.readouterr().out.rstrip("\n").split("\n")]
    assert [line["message"] for line in lines] == ["where\u2028is it", "My order\x0cis late"]
    typed = iter(["order late", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    reply([str(run), "--bank", bank, "--k", "2", "--top", "2"])
    assert re.search(r"1\. 0\.\d+  .*\n2\. 0\.\d+  ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ('{"message": 3}\n', [], "line 1: no 'message'"),
        ('{"message": "a", "turns": [1]}\n', [], "'turns' is"),
        ("{\n", [], "bad JSON"),
        ('{"message": ' + "[" * 100_000 + "]" * 100_000 + "}\n", [], "bad JSON"),
        ("a\n", ["--k", "0"], "--k"),
        ("a\n", ["--bank", "nowhere.jsonl"], "nowhere.jsonl"),
        ("a\n", ["--env.max_length", "12"], "candidates need"),
    ],
)
def test_bad_messages_are_refused_in_one_line(content, more, message, run, tmp_path, capsys):
    asked = tmp_path / "messages.jsonl"
    asked.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        reply([str(run), "--bank", bank_of(tmp_path, "yes it is", "no it is not"), "--input", str(asked), *more])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_predict_names_the_line_of_a_text_that_the_task_refuses(run, tmp_path, capsys):
    asked = tmp_path / "asked.jsonl"
    rows = [{"turns": [], "message": "a", "candidates": ["x", each]} for each in ("y", "x")]
    asked.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        predict([str(run), "--input", str(asked)])
    assert f"{asked}, line 3: two candidates are the same: list each once" in capsys.readouterr().err


def test_a_run_stores_the_absolute_path_of_its_bank(tmp_path, monkeypatch):
    bank_of(tmp_path, "yes")
    monkeypatch.chdir(tmp_path)
    settings = parse_settings(["--env.id", ID, "--env.bank", "bank.jsonl"])
    assert settings.env.bank == str(tmp_path / "bank.jsonl")
    assert f"bank: {tmp_path / 'bank.jsonl'}" in settings.yaml
