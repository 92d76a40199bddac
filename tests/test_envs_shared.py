"""The environments on real data: CoNLL-2003, WikiText-2 and MiniLM's tokenizer."""

import os
from pathlib import Path

import numpy as np
import pytest

import lm_gym
from lm_gym.tasks import build_task

SHARED = Path(os.environ.get("LM_GYM_SHARED", Path(__file__).parents[2] / "shared"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (SHARED / "data" / "conll2003").is_dir(), reason="no shared data (LM_GYM_SHARED)"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return lm_gym.load_tokenizer(SHARED / "models" / "minilm")


def test_every_text_of_conll_encodes_as_it_does_whole(tokenizer):
    data = lm_gym.load_dataset(SHARED / "data" / "conll2003")
    encoded = build_task(lm_gym.tasks.NER, data, "validation", tokenizer, 256).encoded
    corpus = data.splits["validation"]
    texts = [corpus.text(index) for index in range(len(corpus))]
    whole = tokenizer.tokenizer.encode_batch(texts, is_pretokenized=True)
    assert encoded.cut == (0, 0)
    assert encoded.ids.tolist() == [id_ for encoding in whole for id_ in encoding.ids]
    first = [
        [place for place, word in enumerate(e.word_ids) if word is not None and word != e.word_ids[place - 1]]
        for e in whole
    ]
    assert encoded.positions.tolist() == [place for places in first for place in places]


def test_gold_tags_of_conll_have_f1_one_and_majority_tags_less(tokenizer):
    data = lm_gym.load_dataset(SHARED / "data" / "conll2003")
    env = lm_gym.NERVectorEnv(
        64,
        dataset=data,
        split="validation",
        tokenizer=tokenizer,
        max_length=256,
        unit="sequence",
        reward="f1",
        autoreset_mode="SAME_STEP",
    )
    env.reset(seed=0)
    gold = env.targets
    np.testing.assert_allclose(env.position_rewards(gold).sum(1), 1, atol=1e-5)
    all_o = env.position_rewards(np.zeros_like(gold)).sum(1)
    without = (np.where(gold < 9, gold, 0) == 0).all(1)
    np.testing.assert_allclose(all_o, without.astype(float), atol=1e-6)


def test_pieces_of_wikitext_put_together_are_its_texts(tokenizer):
    data = lm_gym.load_dataset(SHARED / "data" / "wikitext2")
    split = next(iter(data.splits))
    task = build_task(lm_gym.tasks.MaskedLM, data, split, tokenizer, 64)
    corpus, encoded = data.splits[split], task.encoded
    whole = tokenizer.tokenizer.encode_batch(
        [corpus.text(i) for i in range(400)], is_pretokenized=True, add_special_tokens=False
    )
    unknown = corpus.vocabulary.index("<unk>")
    assert unknown >= 0
    pieces = [encoded.ids[encoded.offsets[i] + 1 : encoded.offsets[i + 1] - 1] for i in range(encoded.num_texts)]
    kept = [p for p in pieces if len(p)]
    assert max(len(p) for p in kept) == 62
    tokens = np.concatenate(kept)
    expected = [w for e in whole for w in e.ids]
    literal = tokenizer.encode_text(["<", "unk", ">"])  # the tokens of WikiText's unknown word
    text = "".join(map(chr, expected)).replace("".join(map(chr, literal)), chr(tokenizer.unknown))
    assert "".join(map(chr, tokens[:5000])) == text[:5000]
