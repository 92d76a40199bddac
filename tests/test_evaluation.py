"""Evaluations: every text once and in order, words that are cut off, baselines, pipelines of transformers."""

import numpy as np
import pytest
from transformers import pipeline

from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.data import Dataset, load_dataset
from lm_gym.tasks import Prediction
from lm_gym.tasks.words import majority_label
from tests.small import make_env


def perfect(batch):
    return Prediction(batch.targets, None)


def tagged_texts(played):
    """Return (word, gold, predicted) for every word, text by text."""
    lines = (played.task.format_prediction(text).splitlines() for text in played)
    return [[tuple(line.split(" ")) for line in text if line] for text in lines]


def test_evaluation_plays_every_text_once_in_order(ner):
    env = make_env(ner, split="validation", num_envs=7, reward="f1")
    corpus = ner["validation"]
    result = evaluate(perfect, env)
    assert result.metrics["entity_f1"] == 1.0
    assert result.metrics["mean_reward"] == pytest.approx(1.0)
    texts = list(tagged_texts(result))
    assert len(texts) == len(corpus)
    assert [[word for word, _, _ in text] for text in texts] == [corpus.text(i) for i in range(len(corpus))]
    assert all(gold == predicted for text in texts for _, gold, predicted in text)
    assert len(evaluate(majority_label(env.task), env, texts=10).texts) == 10


def test_evaluations_decide_whole_texts(ner):
    env = make_env(ner, unit="token")
    with pytest.raises(
        ValueError, match="an evaluation decides whole texts: make the environment with unit='sequence'"
    ):
        evaluate(majority_label(env.task), env)


def test_predictions_have_three_columns_whatever_the_words(tmp_path):
    words = ["#1", "New Kelp", "a\nb", "\u3000c", "d\u2028e", "f\r"]
    data = Dataset.from_sentences("blanks", [(words, ["O", "B-LOC", "I-LOC", "O", "B-PER", "O"]), (["g"], ["B-PER"])])
    result = evaluate(perfect, make_env(data, split="train", num_envs=1))
    (tmp_path / "test.conll").write_text("".join(map(result.task.format_prediction, result)), encoding="utf-8")
    again = load_dataset(tmp_path / "test.conll")["test"]
    assert [again.text(i) for i in range(2)] == [["#1", "New_Kelp", "a_b", "_c", "d_e", "f_"], ["g"]]
    assert [again.tags_of(i) for i in range(2)] == [data["train"].tags_of(i) for i in range(2)]


def test_words_cut_off_count_as_missed(ner):
    with pytest.warns(UserWarning, match="max_length=8 cuts"):
        env = make_env(ner, split="validation", max_length=8)
    assert env.unwrapped.cut.positions > 0
    result = evaluate(perfect, env)
    report = result.reports["entity"]
    for text, kept in zip(tagged_texts(result), np.diff(result.offsets), strict=True):
        assert {predicted for _, _, predicted in text[kept:]} <= {"O"}
        assert all(gold == predicted for _, gold, predicted in text[:kept])
    whole = make_env(ner, split="validation")
    full = evaluate(perfect, whole).reports["entity"]
    assert report.micro.support == full.micro.support
    assert report.micro.recall < 1.0 == full.micro.recall


def test_majority_row_by_hand():
    train = [(["Ann", "runs"], ["B-PER", "O"]), (["Ann", "Bo"], ["O", "B-PER"]), (["Ann"], ["B-PER"])]
    data = Dataset.from_sentences("hand", train, None, [(["Ann", "met", "Bo"], ["B-PER", "O", "O"])])
    result = evaluate(majority_label(make_env(data, split="test").task), make_env(data, split="test", num_envs=2))
    assert result.metrics["entity_precision"] == 0.5
    assert result.metrics["entity_recall"] == 1.0


def test_token_classification_pipeline_agrees(ner, tmp_path):
    env = make_env(ner)
    model = Supervised("LMPolicy", env, 2e-3, seed=0, device="cpu").learn(4 * env.unwrapped.positions_per_pass)
    model.policy.save_pretrained(tmp_path)
    tagger = pipeline("token-classification", str(tmp_path), device="cpu")
    result = evaluate(model.policy, make_env(ner, split="validation"))
    compared = 0
    for text in list(tagged_texts(result))[:20]:
        words = [word for word, _, _ in text]
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        theirs = {entry["start"]: entry["entity"] for entry in tagger(" ".join(words))}
        for start, (_, _, predicted) in zip(starts, text, strict=True):
            assert theirs.get(int(start), "O") == predicted
            compared += predicted != "O"
    assert compared > 0


def test_fill_mask_pipeline_agrees(tmp_path):
    env = make_env("builtin/masked_lm", "MaskedLM", split="validation")
    model = Supervised("LMPolicy", make_env("builtin/masked_lm", "MaskedLM"), 1e-4, device="cpu", seed=0).learn(300)
    model.policy.save_pretrained(tmp_path)
    filler = pipeline("fill-mask", str(tmp_path), device="cpu", top_k=1)
    obs, _ = env.reset(options={"indices": np.arange(8)})
    choices, _ = model.predict(obs, deterministic=True)
    tokenizer = env.unwrapped.task.tokenizer
    for row in range(8):
        ids = obs["input_ids"][row][obs["attention_mask"][row].astype(bool)]
        assert filler.tokenizer.convert_tokens_to_ids(filler.tokenizer.mask_token) == tokenizer.mask
        text = filler.tokenizer.decode(ids[1:-1])
        if filler.tokenizer(text)["input_ids"] != ids.tolist():
            continue  # decoding joins words that are separate in the corpus
        found = filler(text)
        found = found if isinstance(found[0], list) else [found]
        count = int(obs["position_mask"][row].sum())
        assert [entries[0]["token"] for entries in found] == choices[row, :count].tolist()
        break
    else:
        pytest.fail("no text survived decoding")
