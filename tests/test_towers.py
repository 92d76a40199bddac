"""The two-tower head of response selection: parts of texts, embeddings, length, search spaces, runs, whole banks."""

import contextlib
import io
import json

import gymnasium
import numpy as np
import pytest
import torch
from policies import ARCHITECTURES, SIZES
from transformers import AutoModelForTokenClassification

from lm_gym.agents import LMPolicy, evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.model.pointer import ABSENT
from lm_gym.agents.model.towers import SCALE, Towers
from lm_gym.agents.reply import main as reply
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.agents.train import main as train
from lm_gym.data import DataError
from tests.replies import RECORDS, TOKENIZER, bank_of
from tests.small import small

ID = "lm_gym/ResponseSelection-v0"
MASK, CLS, SEP = (TOKENIZER.token_to_id(f"[{name}]") for name in ("MASK", "CLS", "SEP"))


def make(records=RECORDS, **more):
    arguments = {"num_envs": 2, "unit": "sequence", "autoreset_mode": "SameStep", "tokenizer": TOKENIZER, **more}
    return gymnasium.make_vec(ID, dataset=records, **{"head": "similarity", **arguments})


def policy_of(env, **more):
    arguments = {**env.unwrapped.task.policy_arguments, **small(env), "dropout": 0.0, **more}
    return LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, **arguments)


def towers(abstains=False, choices=2, prefix=(8,), suffix=(7,)):
    return Towers(9, abstains, prefix, suffix, 40, choices)


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("abstains", "text", "parts", "there"),
    [
        (False, [8, 1, 2, 9, 3, 9, 4, 5, 9, 7, 0], [[8, 1, 2, 9, 7], [8, 3, 9, 7], [8, 4, 5, 9, 7]], [1, 1, 1]),
        (False, [8, 1, 9, 3, 9, 7, 0, 9], [[8, 1, 9, 7], [8, 3, 9, 7], [8, 7]], [1, 1, 0]),
        (True, [8, 1, 9, 3, 9, 9, 7], [[8, 1, 9, 7], [8, 9, 7], [8, 3, 9, 7]], [1, 1, 1]),
        (False, [8, 1, 2, 7], [[8, 7], [8, 7], [8, 7]], [0, 0, 0]),
    ],
)
def test_the_parts_of_a_text_are_texts_of_their_own(abstains, text, parts, there):
    length = 4 if len(text) == 4 else text.index(7) + 1
    mask = (torch.arange(len(text)) < length).long()
    found, inside, present = towers(abstains).split(torch.tensor([text]), mask[None])
    assert [row[: int(size)].tolist() for row, size in zip(found, inside.sum(1), strict=True)] == parts
    assert present.long().tolist() == [there]


def test_tokenizers_without_special_tokens():
    text = torch.tensor([[1, 2, 9, 3, 9, 0]])
    found, inside, present = towers(prefix=(), suffix=()).split(text, (text > 0).long())
    assert [row[: int(n)].tolist() for row, n in zip(found, inside.sum(1), strict=True)][:2] == [[1, 2, 9], [3, 9]]
    assert present.tolist() == [[True, True, False]]
    assert inside[2].sum() == 1  # a row of padding alone would give NaN


def test_equal_parts_are_encoded_once():
    text = torch.tensor([[8, 1, 9, 3, 9, 4, 9, 7], [8, 2, 9, 3, 9, 4, 9, 7], [8, 1, 9, 4, 9, 5, 9, 7]])
    read = []

    def encoder(ids, mask):
        read.append(len(ids))
        return ids[..., None] * torch.ones(2)

    rows, mask = torch.tensor([0, 1, 2]), torch.ones_like(text)
    once, again = (towers().encode(encoder, text, mask, rows, once=flag) for flag in (True, False))
    assert read == [5, 9]  # the texts have five different parts
    assert torch.equal(once, again)


def test_logits_are_scaled_cosines():
    hidden = torch.ones(1, 3, 2)
    hidden[0, 2] = 0
    output = torch.tensor([[3.0, 4.0], [4.0, 3.0], [1.0, 0.0]])
    assert towers().logits(output, hidden).tolist() == [[pytest.approx(SCALE * 24 / 25), ABSENT]]
    both = towers().logits(torch.cat([output, output]), hidden)  # two members share the states
    assert both.shape == (2, 2)


@pytest.mark.filterwarnings("ignore:.* are newly initialised")
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2"])
@pytest.mark.parametrize("abstain", [False, True])
def test_plain_transformers_computes_the_same(architecture, abstain, tmp_path):
    env = make(abstain=abstain)
    sizes = {**SIZES, **ARCHITECTURES.get(architecture, {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0})}
    policy = policy_of(
        env, model={"model_type": architecture, **sizes, "vocab_size": 13, "max_position_embeddings": 40}
    )
    policy.set_training_mode(False)
    obs = env.reset(seed=0)[0]
    with torch.no_grad():
        ours = policy.positions(policy.obs_to_tensor(obs)[0]).log_probs
    policy.save_pretrained(tmp_path)
    again = policy_of(env, model=str(tmp_path))
    again.set_training_mode(False)
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()

    def embedded(tokens):
        with torch.no_grad():
            states = plain.base_model(torch.tensor([[CLS, *tokens, MASK, SEP]]))[0].mean(1)
            return torch.nn.functional.normalize(plain.classifier(states), dim=-1)[0]

    for row in range(2):
        ids = obs["input_ids"][row, : obs["attention_mask"][row].sum()].tolist()[1:-1]
        parts, part = [], []
        for token in ids:
            if token == MASK:
                parts.append(part)
                part = []
            else:
                part.append(token)
        context, *candidates = parts
        if abstain:
            candidates = [candidates[-1], *candidates[:-1]]
        cosines = torch.stack([embedded(context) @ embedded(each) for each in candidates])
        found = ours[row, : len(candidates)]
        assert torch.allclose(found, (SCALE * cosines).log_softmax(-1), atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(again.positions(again.obs_to_tensor(obs)[0]).log_probs, ours, atol=1e-5)
    with pytest.raises(ValueError, match="trained with pointer"):
        policy_of(make(abstain=not abstain), model=str(tmp_path))
    with pytest.raises(ValueError, match="trained with pointer"):
        policy_of(make(abstain=abstain, head="pointer"), model=str(tmp_path))


def test_embeddings_begin_as_the_states_of_the_model():
    policy = policy_of(make())
    assert torch.equal(policy.network.classifier.weight, torch.eye(16))


# ---------------------------------------------------------------------- length


MANY = [{"message": "a b c", "candidates": [f"{x} {y}" for x in "abcdefg" for y in "abcdefg"], "answer": 30}] * 2


def test_only_parts_must_fit(tmp_path):
    env = make(MANY, max_length=12)
    assert env.single_observation_space["input_ids"].shape == (2 + 4 + 49 * 3,)
    assert env.unwrapped.task.policy_arguments["pointer"]["longest"] == 6
    policy = policy_of(env, model={**small(env)["model"], "max_position_embeddings": 6})
    assert policy.positions(policy.obs_to_tensor(env.reset(seed=0)[0])[0]).log_probs.shape == (2, 49)
    with pytest.raises(ValueError, match=r"up to 6 sub-tokens, but model 'bert' reads at most 5.*max_length=5"):
        policy_of(env, model={**small(env)["model"], "max_position_embeddings": 5})


def test_long_contexts_are_cut_and_long_candidates_refused():
    long = [{"message": "a b c d e x y", "candidates": ["x", "y"], "answer": 0}] * 2
    env = make(long, max_length=7)
    ids = env.reset(seed=0)[0]["input_ids"][0].tolist()
    assert [TOKENIZER.id_to_token(id_) for id_ in ids[:6]] == ["[CLS]", "d", "e", "x", "y", "[MASK]"]
    assert env.unwrapped.task.encoded.cut == (2, 0)
    with pytest.raises(DataError, match=r"text 0: the candidate 'x y a b' needs 5 .*max_length leaves 4: raise .* 7"):
        make([{"message": "a", "candidates": ["x", "x y a b"], "answer": 0}], max_length=6)


def test_an_option_without_meaning_is_refused():
    with pytest.raises(ValueError, match="similarity=False leaves head='similarity' nothing"):
        make(similarity=False)
    with pytest.raises(ValueError, match="head='towers'"):
        make(head="towers")


# ---------------------------------------------------------------------- agents


@pytest.mark.parametrize("algorithm", ["supervised", "reinforce", "ppo", "es", "mezo", "ga"])
def test_algorithms_learn(algorithm, tmp_path):
    kind = ALGORITHMS[algorithm]
    env = make(num_envs=4 * kind.env_arguments.get("group_size", 1), **{"abstain": True, **kind.env_arguments})
    more = {"n_steps": 2} if algorithm == "ppo" else {}
    model = kind("LMPolicy", env, policy_kwargs=small(env), seed=0, **more)
    model.learn(8)
    assert evaluate(model.policy, make(abstain=True)).metrics.keys() >= {"accuracy", "mrr", "abstention_rate"}
    model.save(tmp_path / "agent")
    again = kind.load(tmp_path / "agent", env=env)
    obs = env.reset(seed=1)[0]
    assert np.array_equal(*(one.policy.predict(obs, deterministic=True)[0] for one in (model, again)))


@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_members_of_a_population_are_evaluated_together(space):
    env = make(num_envs=4)
    algorithm = "ga" if space in ("head_mask", "discrete_prompt") else "es"
    more = {"soft_prompt": {"dim": 20}, "discrete_prompt": {"candidates": [5, 6, 7]}}.get(space)
    policy = {"model": {**small(env)["model"], "num_hidden_layers": 2}}
    model = ALGORITHMS[algorithm](
        "LMPolicy", env, policy_kwargs=policy, search_space=space, search_space_kwargs=more, seed=0
    )
    model.learn(8)  # a space that evaluated members one after another would warn
    assert np.isfinite(evaluate(model.policy, make()).metrics["cross_entropy"])


def test_the_twin_learns_what_replies_mean():
    rows = [{"message": f"{x} {y}", "candidates": ["x", "y"], "answer": int(x == "b")} for x in "ab" for y in "cdef"]
    env = make(rows, num_envs=8)
    model = ALGORITHMS["supervised"]("LMPolicy", env, 1e-2, policy_kwargs={**small(env), "dropout": 0.0}, seed=0)
    model.learn(8 * 60)
    assert evaluate(model.policy, make(rows)).metrics["accuracy"] == 1.0


# ---------------------------------------------------------------------- runs and whole banks


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    rows = [{**RECORDS[1], "message": f"order {number} is late"} for number in range(6)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--env.id", ID, "--env.dataset", str(folder / "asked.jsonl"), "--env.head", "similarity"]
    arguments += ["--env.abstain", "true", "--data.max_overlap", "1", "--env.num_envs", "4", "--budget.passes", "1"]
    with contextlib.redirect_stdout(io.StringIO()):
        train([*arguments, "--algo", "supervised", "--run_dir", str(folder / "run"), "--device", "cpu"])
    return folder / "run"


def test_the_command_ranks_a_whole_bank(run, tmp_path, capsys):
    replies = [f"Reply number {number} is here." for number in range(300)]
    bank = bank_of(tmp_path, *replies)
    asked = tmp_path / "messages.jsonl"
    asked.write_text('My order is late\n{"message": "where is it", "turns": ["hello"]}\n', encoding="utf-8")
    reply([str(run), "--bank", bank, "--input", str(asked), "--top", "400"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        assert {entry["reply"] for entry in line["replies"]} == {None, *replies}
        probabilities = [entry["probability"] for entry in line["replies"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=0.02)
    small_bank = bank_of(tmp_path, *replies[:4])
    reply([str(run), "--bank", small_bank, "--input", str(asked), "--top", "9"])
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, few in zip(lines, alone, strict=True):  # the order does not depend on the rest of the bank
        order = [entry["reply"] for entry in few["replies"]]
        assert [entry["reply"] for entry in line["replies"] if entry["reply"] in order] == order


def test_k_is_for_bm25(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        reply([str(run), "--bank", bank_of(tmp_path, "yes", "no"), "--input", str(tmp_path / "bank.jsonl"), "--k", "3"])
    assert "--k 3" in capsys.readouterr().err
