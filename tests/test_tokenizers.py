"""With every kind of tokenizer, words are encoded as if after a space, in environments and in checkpoints."""

import json
import shutil
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from policies import config, make
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.tokenizer import save_tokenizer
from lm_gym.builtin import tiny_path
from lm_gym.data import Dataset
from lm_gym.tokenizer import load_tokenizer

TEXTS = [
    "Anna met Bo's friend in Riga , on the old pier .",
    "the small ship ( built in 1983 ) left Lima at 7.30 ; it was well-known",
    '" Who is it ? " asked the friend',
    "ships and friends meet in old Riga again , on the small pier , and it was well",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS_OF_GPT4 = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def split_bytes():
    parts = [pre_tokenizers.Split(Regex(WORDS_OF_GPT4), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return pre_tokenizers.Sequence(parts)


def metaspace(scheme):
    return lambda: pre_tokenizers.Metaspace(prepend_scheme=scheme)


def bert_words():
    return pre_tokenizers.BertPreTokenizer()


def bpe():
    return models.BPE(unk_token="<unk>", fuse_unk=True), trainers.BpeTrainer


def unigram():
    return models.Unigram(), lambda **kwargs: trainers.UnigramTrainer(unk_token="<unk>", **kwargs)


def wordpiece():
    return models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer


marks, blanks = normalizers.Replace(" ", "▁"), decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
legacy = normalizers.Sequence([normalizers.Prepend("▁"), marks])
KINDS = {  # model, pre-tokenizer in training and in use, normalizer and decoder
    "bytes": (bpe, byte_level, byte_level, None, decoders.ByteLevel()),
    "split bytes": (bpe, split_bytes, split_bytes, None, decoders.ByteLevel()),
    "metaspace always": (unigram, metaspace("always"), metaspace("always"), None, decoders.Metaspace()),
    "metaspace first": (unigram, metaspace("always"), metaspace("first"), None, decoders.Metaspace()),
    "metaspace never": (unigram, metaspace("always"), metaspace("never"), None, decoders.Metaspace()),
    "marks": (bpe, metaspace("always"), lambda: pre_tokenizers.Split(" ", "merged_with_previous"), marks, blanks),
    "marks in front": (bpe, metaspace("always"), lambda: None, legacy, blanks),
    "pieces": (wordpiece, bert_words, bert_words, normalizers.BertNormalizer(), decoders.WordPiece()),
}  # fmt: skip


def tokenizer(kind):
    """Make a tokenizer that is trained on separate words, like published ones, and reads texts in its own way."""
    make_model, training, using, normalizer, decoder = KINDS[kind]
    model, trainer = make_model()
    made = Tokenizer(model)
    made.pre_tokenizer, made.decoder = training(), decoder
    made.train_from_iterator(TEXTS, trainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False))
    found = using()
    if found is None:
        description = json.loads(made.to_str()) | {"pre_tokenizer": None}
        made = Tokenizer.from_str(json.dumps(description))
    else:
        made.pre_tokenizer = found
    if normalizer is not None:
        made.normalizer = normalizer
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return made


def ids(made, text):
    return made.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_encoded_as_behind_a_space(kind):
    made = tokenizer(kind)
    ours = load_tokenizer(made)
    for text in TEXTS:
        words = text.split()
        found = ours.encode_text(words)
        assert found in (ids(made, text), ids(made, f" {text}"))
        assert ours.encode_whole(words) == found
        assert "".join(ours.decode(found).split()) == "".join(made.decode(ids(made, text)).split())
        alone, offsets = ours.encode_words(words)
        assert alone.tolist() == found
        assert len(offsets) == len(words) + 1
    again = load_tokenizer(ours.tokenizer)
    assert again.fingerprint == ours.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_keeps_words_apart(kind):
    data = Dataset.from_sentences("one", [TEXTS[0].split()])
    env = gymnasium.make("lm_gym/MaskedLM-v0", dataset=data, tokenizer=tokenizer(kind))
    text = env.reset(seed=0)[1]["text"]
    assert text.count(" ") >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_reads_whole_texts_as_the_environment_reads_words(tmp_path, kind):
    source, target = tmp_path / "source", tmp_path / "target"
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(kind), **names).save_pretrained(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_tokenizer(str(source), target)
    saved, ours, kept = AutoTokenizer.from_pretrained(target), load_tokenizer(source), load_tokenizer(target)
    for text in TEXTS:
        cut = [*ours.prefix, *ours.encode_text(text.split()), *ours.suffix]
        assert saved(text)["input_ids"] == cut
        assert [*kept.prefix, *kept.encode_text(text.split()), *kept.suffix] == cut


def test_a_class_that_makes_its_tokenizer_anew_is_forgotten(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer("metaspace never"), unk_token="<unk>").save_pretrained(source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "LlamaTokenizer"}))
    save_tokenizer(str(source), target)
    saved, ours = AutoTokenizer.from_pretrained(target), load_tokenizer(source)
    assert saved(TEXTS[0])["input_ids"] == [*ours.prefix, *ours.encode_text(TEXTS[0].split()), *ours.suffix]


@pytest.fixture
def old_folder(tmp_path):
    """Write the vocabulary of `tiny` as a vocab.txt, as in older checkpoints."""
    vocabulary = json.loads(Path(tiny_path(), "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    shutil.copy(Path(tiny_path(), "config.json"), tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "settings", [None, {"do_lower_case": False}, {"strip_accents": False, "tokenizer_class": "ElectraTokenizerFast"}]
)
def test_vocab_txt_is_read_as_transformers_reads_it(old_folder, settings):
    if settings is not None:
        (old_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ours, theirs = load_tokenizer(old_folder), AutoTokenizer.from_pretrained(old_folder)
    words = ["Élan", "Mira", "saw", "Oslo's", "(bay)", "[MASK]", "京都", "."]
    cut = [*ours.prefix, *ours.encode_text(words), *ours.suffix]
    assert cut == theirs(words, is_split_into_words=True)["input_ids"]
    assert (ours.mask, ours.pad, ours.unknown) == (theirs.mask_token_id, theirs.pad_token_id, theirs.unk_token_id)
    assert np.flatnonzero(ours.special).tolist() == sorted(theirs.all_special_ids)


def test_folders_that_hold_another_tokenizer_say_how_to_convert_it(old_folder):
    (old_folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    with pytest.raises(FileNotFoundError, match=r"python -c .*AutoTokenizer.*save_pretrained"):
        load_tokenizer(old_folder)
    (old_folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a JSON object"):
        load_tokenizer(old_folder)
    (old_folder / "tokenizer_config.json").unlink()
    (old_folder / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"vocab\.txt lacks the special tokens \[UNK\], \[CLS\], \[SEP\]"):
        load_tokenizer(old_folder)


def test_a_vocabulary_may_be_padded_beyond_its_tokenizer(tmp_path):
    made = load_tokenizer(tokenizer("bytes"))
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer("bytes"), **names).save_pretrained(tmp_path)
    settings = AutoConfig.for_model(**config()).to_dict() | {"vocab_size": made.size + 7}
    AutoModelForMaskedLM.from_config(AutoConfig.for_model(**settings)).save_pretrained(tmp_path)
    data = Dataset.from_sentences("four", [text.split() for text in TEXTS])
    env = gymnasium.make_vec(
        "lm_gym/MaskedLM-v0", num_envs=2, dataset=data, tokenizer=str(tmp_path), unit="sequence", max_length=32
    )
    policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, model=str(tmp_path))
    obs, _ = env.reset(seed=0)
    assert policy.positions(policy.obs_to_tensor(obs)[0]).log_probs.shape[1] == made.size
    policy.save_pretrained(tmp_path / "best")
    assert AutoConfig.from_pretrained(tmp_path / "best").vocab_size == made.size + 7
    rebuilt = type(policy)(**policy._get_constructor_parameters())
    assert rebuilt.num_choices == made.size
    with pytest.raises(ValueError, match="tokenizer has 50 entries"):
        make(model=str(tmp_path))
