"""Short texts with labels, tokenizers of letters and of bytes, and the task that reads them."""

import gymnasium
import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import lm_gym
from lm_gym.tasks import TextClassification, build_task
from lm_gym.tokenizer import load_tokenizer

ID = "lm_gym/TextClassification-v0"
TEXTS = [("a bs cer", "up"), ("d", "down"), ("e a b c d e f g", "up"), ("as bs", "down")]
WORDS = {"down": "c", "up": ["a", "d e"]}
TEMPLATE = "f {text} g {mask}."

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", "##er", *"abcdefghij", "##a", "##b", "##c"]


def wordpiece(mask=True) -> Tokenizer:
    """Make a tokenizer of letters and two endings, with BERT's special tokens."""
    words = [word for word in VOCABULARY if mask or word != "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens([word for word in words if word.startswith("[")])
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(5)
    return tokenizer


def causal() -> Tokenizer:
    """Make a tokenizer of single bytes without a mask token and special tokens around texts, like those of decoders."""
    alphabet = ["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>"])
    return tokenizer


def dataset(records=TEXTS, **more) -> lm_gym.Dataset:
    """Make a dataset of (text, label) or (text, label, second text)."""
    rows = [dict(zip(("text", "label", "second"), record, strict=False)) for record in records]
    return lm_gym.load_dataset(rows, fields=TextClassification.fields, **more)


def task(records=TEXTS, tokenizer=None, max_length=64, **options) -> TextClassification:
    """Make the task of these records with these options."""
    made = TextClassification.Options(**options)
    return build_task(
        TextClassification, dataset(records), "train", load_tokenizer(tokenizer or wordpiece()), max_length, made
    )


def shown(task: TextClassification, text: int) -> list[str]:
    """Return the tokens of a text, with brackets around the one at the position."""
    opened = task.open(np.array([text]), np.zeros(1, np.int64), 0)
    tokens = [task.tokenizer.tokenizer.id_to_token(id_) for id_ in opened.input_ids[0, : opened.lengths[0]].tolist()]
    tokens[opened.positions[0, 0]] = f"({tokens[opened.positions[0, 0]]})"
    return tokens


def envs(num_envs=4, **options):
    """Make a vector environment of whole texts."""
    more = {"dataset": dataset(), "tokenizer": wordpiece(), "unit": "sequence", "autoreset_mode": "SameStep"}
    return gymnasium.make_vec(ID, num_envs=num_envs, **{**more, **options})
