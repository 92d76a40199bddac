"""The builtin corpora, the shipped model, and the command that made it."""

import hashlib
import json
import math
import random
from collections import Counter, defaultdict
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from lm_gym.agents.model.pretraining import build_tokenizer, encode, mask_tokens, pad, perplexity, plan, train
from lm_gym.agents.pretrain import pretrain
from lm_gym.builtin import BUILTIN, tiny_path
from lm_gym.builtin.masked_lm import masked_lm_splits, sentence_groups, topic_paragraphs
from lm_gym.builtin.names import SPLITS, own_words
from lm_gym.builtin.ner import SIZES, TEMPLATED, generate, generate_with_shapes, ner_splits, split_of, templates

NER_SHA256 = "cf99f61e58f01bc6f373e5bb9970a99172a5bbd80c977193aa7980ce83144ec7"
PROSE_SHA256 = "5dd25d5ec1762a056e6e394917457d8a6794219c1f31df790e46395ab59e5013"
PAIRS = [("train", "validation"), ("train", "test"), ("validation", "test")]


@pytest.fixture(scope="module")
def tagged():
    return ner_splits()


@pytest.fixture(scope="module")
def prose():
    return masked_lm_splits()


def names_of(texts):
    """Return the names in tagged texts as (lower-case surface, type)."""
    found = set()
    for words, tags in texts:
        for i, tag in enumerate(tags):
            if tag.startswith("B-"):
                end = next((j for j in range(i + 1, len(tags)) if not tags[j].startswith("I-")), len(tags))
                found.add((" ".join(words[i:end]).lower(), tag[2:]))
    return found


def test_what_we_wrote_is_unchanged(tagged):
    text = json.dumps(tagged, sort_keys=True, ensure_ascii=True)
    assert hashlib.sha256(text.encode()).hexdigest() == NER_SHA256
    folder = resources.files("lm_gym.builtin").joinpath("prose")
    files = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir())
    text = "".join(name + content for name, content in files)
    assert hashlib.sha256(text.encode()).hexdigest() == PROSE_SHA256


def test_registry_gives_three_splits(tagged, prose):
    assert sorted(BUILTIN) == [
        f"builtin/{name}"
        for name in ("arithmetic", "headlines", "masked_lm", "ner", "recommendations", "replies", "sudoku")
    ]
    for name, expected in (("builtin/ner", tagged), ("builtin/masked_lm", prose)):
        splits = BUILTIN[name]()
        assert tuple(splits) == SPLITS
        assert splits == expected  # the same in every call


def test_generation_leaves_the_global_random_state_alone():
    random.seed(5)
    state = random.getstate()
    generate("test", 20)
    assert random.getstate() == state


def test_ner_is_valid_iob2(tagged):
    allowed = {"O"} | {f"{prefix}-{entity}" for prefix in "BI" for entity in ("PER", "ORG", "LOC", "MISC")}
    for split, count in SIZES.items():
        assert len(tagged[split]) == count
        assert {tag for _, tags in tagged[split] for tag in tags} == allowed
        for words, tags in tagged[split]:
            assert len(words) == len(tags) > 0
            assert all(word and not any(map(str.isspace, word)) for word in words)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_names_and_shapes_of_the_splits_are_disjoint(tagged, one, other):
    surfaces = {split: {name for name, _ in names_of(tagged[split])} for split in (one, other)}
    assert not surfaces[one] & surfaces[other]
    shapes = {split: {tuple(shape) for _, shape in generate_with_shapes(split, SIZES[split])} for split in (one, other)}
    assert not shapes[one] & shapes[other]
    assert len(shapes[other]) > 0.5 * SIZES[other]
    for register in TEMPLATED:
        lines = [{" ".join(tokens) for tokens in templates(register, split)} for split in (one, other)]
        assert all(lines)
        assert not lines[0] & lines[1]


def test_shapes_have_their_split_by_a_hash_that_every_machine_shares():
    assert split_of(["PER", "lives", "in", "LOC", "."]) == "test"
    assert [own_words(list("abcdefgh"), split) for split in SPLITS] == [list("abcdgh"), ["e"], ["f"]]


def test_names_are_ambiguous_and_the_majority_tag_fails(tagged):
    types = defaultdict(set)
    for words, tags in tagged["test"]:
        for word, tag in zip(words, tags, strict=True):
            types[word.lower()].add(tag[2:])
    inside = [word for words, tags in tagged["test"] for word, tag in zip(words, tags, strict=True) if tag != "O"]
    assert sum(len(types[word.lower()]) > 1 for word in inside) > 0.2 * len(inside)

    counts = defaultdict(Counter)
    for words, tags in tagged["train"]:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    majority = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    gold = [tags for _, tags in tagged["test"]]
    predicted = [[majority.get(word, "O") for word in words] for words, _ in tagged["test"]]
    assert f1_score(gold, predicted) < 0.6


def test_more_text_of_the_train_grammar_differs_from_the_corpus(tagged):
    more = generate("train", 200, stream=1)
    corpus = {tuple(words) for words, _ in tagged["train"]}
    assert sum(tuple(words) in corpus for words, _ in more) < 20


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_prose_splits_are_disjoint(prose, one, other):
    assert not set(map(tuple, prose[one])) & set(map(tuple, prose[other]))


def test_prose_is_plain_english_of_a_few_sentences(prose):
    assert min(map(len, prose.values())) >= 150
    for texts in prose.values():
        assert all(5 <= len(text) <= 90 for text in texts)
        assert np.mean([len(text) for text in texts]) < 40
        words = [word for text in texts for word in text]
        assert not any(mark in word for word in words for mark in ("**", "+--", ">>>", "::="))
        assert 0.03 < sum(word == "the" for word in words) / len(words) < 0.1


def test_topics_are_cleaned_of_code_tables_and_markup():
    topic = (
        'Heading\n*******\n\nThe "with" statement *wraps* a block of\ncode.\n\n   with open(f):\n       pass\n\n'
        "+---+---+\n| a | b |\n+---+---+\n\nChanged in version 3.6: It was changed again.\n\n* A point that is made.\n"
    )
    assert topic_paragraphs(topic) == ["The with statement wraps a block of code.", "A point that is made."]


def test_sentence_groups_are_whole_sentences_up_to_forty_words():
    paragraph = " ".join(f"Sentence number {i} has {'many ' * 15}words." for i in range(4)) + " Too short."
    groups = sentence_groups(paragraph)
    assert [" ".join(group).count("words.") for group in groups] == [2, 2]
    assert groups[0][-1] == "words."


def test_tiny_is_an_ordinary_small_checkpoint():
    config = json.loads((tiny_path() / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert sum(file.stat().st_size for file in tiny_path().iterdir()) < 8_000_000
    model = AutoModelForMaskedLM.from_pretrained(tiny_path(), dtype=torch.float32)
    assert 1e6 <= model.num_parameters() <= 3e6
    tokenizer = AutoTokenizer.from_pretrained(tiny_path())
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert tokenizer("The river")["input_ids"][0] == 2
    assert tokenizer.tokenize("Paris") != tokenizer.tokenize("paris")  # cased


def test_tiny_has_learnt_the_language_of_its_corpora(prose, tagged):
    model = BertForMaskedLM.from_pretrained(tiny_path(), dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(tiny_path() / "tokenizer.json"))
    held_out = prose["validation"] + [words for words, _ in tagged["validation"]]
    assert perplexity(model, encode(tokenizer, held_out)) < 150
    for text, expected in (
        ("He lives [MASK] London .", {"in", "near"}),
        ("It [MASK] raining all day .", {"was", "is"}),
        ("They beat Arsenal 2-1 on [MASK] .", {"Monday", "Thursday", "Sunday"}),
    ):
        encoding = tokenizer.encode(text)
        with torch.no_grad():
            logits = model(torch.tensor([encoding.ids])).logits[0, encoding.ids.index(4)]
        best = {tokenizer.id_to_token(int(i)) for i in logits.topk(5).indices}
        assert best & expected, (text, best)


def test_masking_follows_bert():
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.full((200, 100), 7)
    input_ids[:, 0], input_ids[:, -1] = 2, 3
    masked, chosen = mask_tokens(input_ids, 50, generator)
    count = chosen.sum().item()
    assert 0.14 < count / (200 * 98) < 0.16
    assert not chosen[:, 0].any()
    assert not chosen[:, -1].any()
    assert torch.equal(masked[~chosen], input_ids[~chosen])
    assert (masked[chosen] == 4).sum().item() / count == pytest.approx(0.8, abs=0.02)
    random_ids = masked[chosen & (masked != 4) & (masked != 7)]
    assert len(random_ids) / count == pytest.approx(0.1 * 44 / 45, abs=0.02)
    assert random_ids.min() >= 5
    assert random_ids.max() < 50


def test_batches_visit_every_text_once():
    texts = [torch.full((length,), i + 5) for i, length in enumerate([3, 200, 4, 250, 5, 6, 100] * 9)]
    rows = plan(texts, np.random.default_rng(0))
    assert sorted(i for row in rows for i in row) == list(range(len(texts)))
    assert all(pad(texts, row).numel() <= 512 for row in rows)


def small_run(seed):
    texts = generate("train", 60)
    tokenizer = build_tokenizer([words for words, _ in texts], 300)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=64, max_position_embeddings=256,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    ids = encode(tokenizer, [words for words, _ in texts])
    before = perplexity(model, ids)
    train(model, ids, passes=8, learning_rate=5e-3, seed=seed)
    return tokenizer.to_str(), before, perplexity(model, ids), model.state_dict()


def test_pretraining_learns_and_repeats_itself():
    tokenizer, before, after, weights = small_run(0)
    assert after < 0.7 * before
    again = small_run(0)
    assert again[0] == tokenizer
    assert again[2] == after
    assert all(torch.equal(again[3][name], weights[name]) for name in weights)
    assert not math.isclose(small_run(1)[2], after)


def test_pretrain_refuses_to_overwrite(tmp_path: Path):
    with pytest.raises(FileExistsError, match="is not overwritten"):
        pretrain(tmp_path)


def test_pretrain_leaves_a_checkpoint_that_transformers_loads(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        "lm_gym.agents.model.pretraining.ner_splits", lambda: {split: generate(split, 40) for split in SPLITS}
    )
    prose = {split: [["The", "river", "is", "cold", "."]] * 40 for split in SPLITS}
    monkeypatch.setattr("lm_gym.agents.model.pretraining.masked_lm_splits", lambda: prose)
    pretrain(tmp_path / "new", passes=1, vocabulary=300, hidden=32, layers=1, extra_sentences=20)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "new")
    assert next(model.parameters()).dtype == torch.float16
    assert len(AutoTokenizer.from_pretrained(tmp_path / "new")) == model.config.vocab_size
