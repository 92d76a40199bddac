"""The builtin NER corpus: generated English sentences with people, places, organisations and other names.

The *shape* of a sentence is the sentence with each name replaced by its type and each word from a list by the list.
The three splits share no shapes and no names. In most registers a shape comes from a template, and all shapes of a
template belong to one split. In the registers of `FREE`, clauses combine freely and each combination is assigned to
a split.
"""

from random import Random
from zlib import crc32

from lm_gym.builtin.grammar import Expander, Rules, Token, Words, pick, read_rules
from lm_gym.builtin.names import SPLITS, name_pools, own_words, read_lists

TEMPLATED = ("news", "business", "sport", "talk", "culture", "tables", "headlines", "quotes", "plain")
FREE = ("clauses",)
SIZES = {"train": 3_000, "validation": 500, "test": 500}
_FREE_SHARE = 0.8  # of the sentences
_NAMES = 6_000  # in a pool of train
_ALL_CAPS = 0.01  # sentences in capitals
_LONGEST = 36  # words

TaggedText = tuple[list[str], list[str]]


def templates(register: str, split: str) -> list[list[Token]]:
    """Select the templates of a register that belong to a split. Out of six, four belong to train."""
    lines = [" ".join(tokens) for tokens in read_rules(register)["sentence"]]
    return [line.split() for line in own_words(lines, split)]


def split_of(shape: list[Token]) -> str:
    """Find the split of a shape of a free register, by a hash of its text."""
    return ("train", "train", "train", "train", "validation", "test")[crc32(" ".join(shape).encode()) % 6]


def _finish(words: Words, rng: Random) -> TaggedText:
    """Choose between "a" and "an", capitalise the first word, and put a few texts in capitals."""
    texts = [word for word, _ in words]
    for i, word in enumerate(texts[:-1]):
        if word == "a" and texts[i + 1][0].lower() in "aeiou":
            texts[i] = "an"
    start = 1 if texts[0] == '"' else 0
    texts[start] = texts[start][0].upper() + texts[start][1:]
    if rng.random() < _ALL_CAPS:
        texts = [text.upper() for text in texts]
    return texts, [tag for _, tag in words]


def generate(split: str, count: int, stream: int = 0) -> list[TaggedText]:
    """Generate `count` different sentences of a split, without their shapes. See `generate_with_shapes`."""
    return [sentence for sentence, _ in generate_with_shapes(split, count, stream)]


def generate_with_shapes(split: str, count: int, stream: int = 0) -> list[tuple[TaggedText, list[Token]]]:
    """Generate `count` different sentences of a split, each with its shape.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        count: the number of sentences.
        stream: the number of the random stream. 0 gives the corpus itself, others give more text of the same kind.
    """
    rng = Random(1_000 * stream + SPLITS.index(split))
    names = name_pools(_NAMES)[split]
    phrases: Rules = read_rules("phrases")
    phrases["noun"] += [[word.lower()] for word in own_words(read_lists()["common"], split)]
    templated = Expander(phrases, names), [templates(register, split) for register in TEMPLATED]
    free = [(Expander(phrases | rules, names), rules["sentence"]) for rules in map(read_rules, FREE)]
    seen: set[tuple[str, ...]] = set()
    sentences: list[tuple[TaggedText, list[Token]]] = []
    while len(sentences) < count:
        if rng.random() < _FREE_SHARE:
            expander, starts = pick(rng, free)
            words, shape = expander.expand(pick(rng, starts), rng)
            while split_of(shape) != split:
                words, shape = expander.expand(pick(rng, starts), rng)
        else:
            words, shape = templated[0].expand(pick(rng, pick(rng, templated[1])), rng)
        sentence = _finish(words, rng)
        if len(words) <= _LONGEST and tuple(sentence[0]) not in seen:
            seen.add(tuple(sentence[0]))
            sentences.append((sentence, shape))
    return sentences


def ner_splits() -> dict[str, list[TaggedText]]:
    """Make the corpus: (words, IOB2 tags) of each split. It is the same on every machine."""
    return {split: generate(split, count) for split, count in SIZES.items()}
