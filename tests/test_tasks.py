"""Tokenizing, encoding, and the masks of masked language modelling."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from lm_gym.data import Corpus, DataError, Dataset
from lm_gym.hashing import mix, permute
from lm_gym.tasks import NER, TASKS, MaskedLM, build_task, load_data
from lm_gym.tasks.encoded import WordTable
from lm_gym.tokenizer import load_tokenizer
from tests.labelled import VOCABULARY, wordpiece


def byte_level() -> Tokenizer:
    """Make a tokenizer of single bytes with RoBERTa's special tokens."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.add_special_tokens(special)
    return tokenizer


def corpus(*texts: str, tags=None) -> Corpus:
    words = [text.split() for text in texts]
    return Corpus.from_sentences(list(zip(words, tags, strict=True)) if tags else words)


def ids_of(encoded, text):
    return encoded.ids[encoded.offsets[text] : encoded.offsets[text + 1]].tolist()


TAGGED = corpus("a bs cer d", "as bs", "e", tags=[["B-X", "I-X", "O", "B-X"], ["O", "B-Y"], ["O"]])


def test_special_ids_are_found_under_either_name():
    bert, roberta = load_tokenizer(wordpiece()), load_tokenizer(byte_level())
    assert (bert.prefix, bert.suffix, bert.pad, bert.unknown, bert.mask) == ((2,), (3,), 0, 1, 4)
    assert (roberta.prefix, roberta.suffix, roberta.pad, roberta.unknown, roberta.mask) == ((0,), (2,), 1, 3, 4)
    assert np.flatnonzero(bert.special).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(~roberta.maskable).tolist() == [0, 1, 2, 3, 4]
    assert bert.size == len(VOCABULARY)


def test_a_tokenizer_is_copied_without_its_truncation_and_padding():
    given = wordpiece()
    loaded = load_tokenizer(given)
    assert given.padding is not None
    assert len(loaded.encode_text(list("abcdefghij"))) == 10


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_words_encode_as_their_texts_do(make):
    tokenizer = load_tokenizer(make())
    table = WordTable.build(TAGGED, tokenizer)
    encoded = NER.encode(TAGGED, tokenizer, 64, table=table)
    for text in range(len(TAGGED)):
        whole = [*tokenizer.prefix, *tokenizer.encode_text(TAGGED.text(text)), *tokenizer.suffix]
        assert ids_of(encoded, text) == whole


def test_a_tokenizer_that_joins_words_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "x": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    with pytest.warns(UserWarning, match="splits 1 of 1 texts differently if they are given whole"):
        table = WordTable.build(corpus("a b"), load_tokenizer(tokenizer))
    broken = table._replace(ids=np.array([1, 0], np.int32))
    with pytest.raises(ValueError, match="differently inside a text"):
        broken._check(corpus("a b"), load_tokenizer(tokenizer))


def test_words_that_give_nothing_become_the_unknown_token():
    tokenizer = load_tokenizer(wordpiece())
    ids, offsets = tokenizer.encode_words(["a", "\u200b", "<unk>", "cer"])
    assert ids.tolist() == [7, 1, 1, 9, 6]
    assert offsets.tolist() == [0, 1, 2, 3, 5]
    bare = load_tokenizer(byte_level_without_unknown())
    with pytest.raises(ValueError, match="no unknown token"):
        bare.encode_words([""])


def byte_level_without_unknown() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def test_tokenizers_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json"):
        load_tokenizer(tmp_path)
    wordpiece().save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).mask == load_tokenizer(tmp_path / "tokenizer.json").mask == 4


def test_names_that_are_no_tokenizer(monkeypatch):
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        load_tokenizer("tinny")

    class Hub:
        from_str = Tokenizer.from_str

        @staticmethod
        def from_pretrained(identifier):
            if identifier == "some/model":
                return wordpiece()
            raise OSError("no network")

    monkeypatch.setattr("lm_gym.tokenizer.Tokenizer", Hub)
    monkeypatch.setattr("lm_gym.hub._obstacle", lambda: "")  # the hub can be reached
    with pytest.raises(ValueError, match=r"gave none \(no network\)"):
        load_tokenizer("hub:nobody/nothing")
    assert load_tokenizer("hub:some/model").mask == load_tokenizer("some/model").mask == 4


def test_ner_by_hand():
    encoded = NER.encode(TAGGED, load_tokenizer(wordpiece()), 64)
    assert ids_of(encoded, 0) == [2, 7, 8, 5, 9, 6, 10, 3]  # [CLS] a b ##s c ##er d [SEP]
    assert encoded.ids.dtype == np.uint16
    assert encoded.positions.tolist() == [1, 2, 4, 6, 1, 3, 1]
    assert [TAGGED.tag_names[tag] for tag in encoded.targets] == ["B-X", "I-X", "O", "B-X", "O", "B-Y", "O"]
    assert encoded.counts.tolist() == [4, 2, 1]
    assert encoded.cut == (0, 0)
    assert (encoded.max_tokens, encoded.max_positions, encoded.num_positions) == (8, 4, 7)


def test_ner_drops_and_counts_words_that_begin_beyond_max_length():
    encoded = NER.encode(TAGGED, load_tokenizer(wordpiece()), 5)  # room for three sub-tokens
    assert ids_of(encoded, 0) == [2, 7, 8, 5, 3]
    assert ids_of(encoded, 1) == [2, 7, 5, 8, 3]  # the second word keeps its first sub-token
    assert encoded.counts.tolist() == [2, 2, 1]
    assert encoded.positions.tolist() == [1, 2, 1, 3, 1]
    assert encoded.cut == (2, 2)


def test_ner_warns_of_what_it_drops():
    data = Dataset.from_sentences("letters", [(["a", "b", "c"], ["O", "B-X", "O"])])
    with pytest.warns(UserWarning, match="cuts 1 texts of letters/train and drops 1 of their words"):
        build_task(NER, data, "train", load_tokenizer(wordpiece()), 4)


def test_ner_without_tags():
    with pytest.raises(ValueError, match="no tags, but lm_gym/NER-v0 needs a tag for each word"):
        NER.encode(corpus("a b"), load_tokenizer(wordpiece()), 64)


@pytest.mark.parametrize("task", TASKS.values())
def test_max_length_must_leave_room(task):
    with pytest.raises(ValueError, match="give at least 3"):
        task.encode(TAGGED, load_tokenizer(wordpiece()), 2)


def test_sizes_are_those_of_all_splits():
    data = Dataset.from_sentences("letters", [["a"] * 3, ["b"] * 3], [["c"] * 6], [["d"] * 4])
    shapes = {build_task(MaskedLM, data, split, load_tokenizer(wordpiece()), 64).shape for split in data.splits}
    assert shapes == {(8, 1, len(VOCABULARY))}
    assert build_task(MaskedLM, data, "test", load_tokenizer(wordpiece()), 7).shape.tokens == 7
    with pytest.raises(ValueError, match="there are test, train, validation"):
        build_task(MaskedLM, data, "dev", load_tokenizer(wordpiece()), 64)


def test_masked_lm_cuts_long_texts_between_words():
    data = corpus("as bs c ds", "e", "abca b")
    encoded = MaskedLM.encode(data, load_tokenizer(wordpiece()), 5)  # room for three sub-tokens
    pieces = [ids_of(encoded, piece)[1:-1] for piece in range(encoded.num_texts)]
    assert pieces == [[7, 5], [8, 5, 9], [10, 5], [11], [7, 18, 19], [17, 8]]  # abca is too long for a piece
    assert encoded.cut == (2, 0)


def test_masked_lm_drops_pieces_without_anything_to_mask():
    encoded = MaskedLM.encode(corpus("? !", "a ?", "<unk>"), load_tokenizer(wordpiece()), 64)
    assert encoded.num_texts == 1
    assert ids_of(encoded, 0) == [2, 7, 1, 3]
    with pytest.raises(ValueError, match="may be masked"):
        MaskedLM.encode(corpus("? !"), load_tokenizer(wordpiece()), 64)


@pytest.mark.parametrize("probability", [0.0, 1.5, float("nan")])
def test_mask_probability_must_be_one(probability):
    with pytest.raises(ValueError, match="mask_probability"):
        MaskedLM.Options(mask_probability=probability)


def test_masked_lm_needs_a_mask_token():
    with pytest.raises(ValueError, match="no mask token"):
        MaskedLM.encode(TAGGED, load_tokenizer(wordpiece(mask=False)), 64)


def masked(num_texts=40, **options):
    rng = np.random.default_rng(0)
    texts = [
        list(rng.choice(list("abcdefghij"), rng.integers(1, 30))) + ["?"] * int(rng.integers(3))
        for _ in range(num_texts)
    ]
    return build_task(
        MaskedLM,
        Dataset.from_sentences("letters", texts, max_overlap=1),
        "train",
        load_tokenizer(wordpiece()),
        64,
        MaskedLM.Options(**options),
    )


def test_exactly_the_right_number_of_tokens_is_masked():
    task = masked(mask_probability=0.3)
    texts = np.arange(task.encoded.num_texts)
    opened = task.open(texts, texts * 0, 5)
    for row in texts:
        whole = np.array(ids_of(task.encoded, row))
        places = opened.positions[row, : opened.counts[row]]
        assert opened.counts[row] == max(1, round(0.3 * task.tokenizer.maskable[whole].sum()))
        assert (np.diff(places) > 0).all()
        assert opened.targets[row, : opened.counts[row]].tolist() == whole[places].tolist()
        assert task.tokenizer.maskable[whole[places]].all()
        restored = opened.input_ids[row].copy()
        assert (restored[places] == task.tokenizer.mask).all()
        restored[places] = whole[places]
        assert restored[: len(whole)].tolist() == whole.tolist()
        assert (opened.targets[row, opened.counts[row] :] == task.shape.choices).all()


def test_masks_depend_on_key_visit_and_text_and_on_nothing_else():
    task = masked()
    texts = np.arange(task.encoded.num_texts)
    opened = task.open(texts, texts % 3, 7)
    some = np.array([11, 2, 30])
    alone = task.open(some, some % 3, 7)
    for one, other in zip(opened, alone, strict=True):
        assert (one is None and other is None) or (one[some] == other).all()
    assert (task.open(texts, texts % 3 + 1, 7).positions != opened.positions).any(1).mean() > 0.8
    assert (task.open(texts, texts % 3, 8).positions != opened.positions).any(1).mean() > 0.8


def test_every_token_is_masked_equally_often():
    data = Dataset.from_sentences("letters", [list("abcdefghij")])
    task = build_task(MaskedLM, data, "train", load_tokenizer(wordpiece()), 64, MaskedLM.Options(mask_probability=0.2))
    visits = np.arange(5000)
    opened = task.open(visits * 0, visits, 3)
    often = np.bincount(opened.positions[opened.positions > 0], minlength=12)[1:11] / 5000
    np.testing.assert_allclose(often, 0.2, atol=0.03)  # five standard deviations


def test_target_counts_leave_out_what_is_never_masked():
    counts = masked().target_counts
    assert counts[:5].sum() == 0
    assert (counts[7:17] > 0).all()
    ner = build_task(
        NER,
        Dataset.from_sentences("x", [(["a", "b", "c"], ["O", "B-X", "O"])]),
        "train",
        load_tokenizer(wordpiece()),
        64,
    )
    assert ner.target_counts.tolist() == [2, 1, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65, 1000, 4097])
def test_permutations(size):
    first = permute(np.arange(size), size, 1)
    assert np.sort(first).tolist() == list(range(size))
    assert permute(np.array([size - 1]), size, 1)[0] == first[-1]
    if size > 50:
        assert (permute(np.arange(size), size, 2) != first).mean() > 0.9
        mean = np.mean([np.corrcoef(permute(np.arange(size), size, key), np.arange(size))[0, 1] for key in range(50)])
        assert abs(mean) < 5 / np.sqrt(50 * size)


def test_permutations_are_uniform_over_the_six_orders_of_three():
    orders = [tuple(permute(np.arange(3), 3, key)) for key in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert min(counts) > 400
    assert max(counts) < 600


def test_hashes_have_fair_bits_and_no_two_alike():
    hashes = mix(3, np.arange(4096)[:, None], np.arange(4))
    assert len(np.unique(hashes)) == hashes.size
    bits = np.unpackbits(hashes.reshape(-1).view(np.uint8)).reshape(-1, 64).mean(0)
    np.testing.assert_allclose(bits, 0.5, atol=0.025)


@pytest.mark.parametrize(
    "task", [task for task in TASKS.values() if any(field.kind in ("label", "labels") for field in task.fields)]
)
def test_labels_are_numbered_as_in_a_trained_model(task):
    (field,) = (field for field in task.fields if field.kind in ("label", "labels"))
    several = field.kind == "labels"
    records = [{"text": text, field.name: [name] if several else name} for text, name in (("a b", "up"), ("c", "down"))]
    dataset = load_data(task, records)
    assert dataset["train"].columns[field.name].names == ("down", "up")
    column = task.relabel(dataset, ["flat", "up", "down"])["train"].columns[field.name]
    assert (column.names, column.values.tolist()) == (("flat", "up", "down"), [1, 2])
    with pytest.raises(DataError, match="down"):
        task.relabel(dataset, ["flat", "up"])
