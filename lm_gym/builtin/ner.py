"""The builtin NER corpus: English sentences with people, places, organisations and other names, generated.

Every sentence grows from a template, a top-level rule of one of the registers below. Templates and names of
the three splits are disjoint: nothing that a tagger remembers of a name or of a sentence helps it on test.
"""

from random import Random

from lm_gym.builtin.grammar import Expander, Rules, Words, pick, read_rules
from lm_gym.builtin.names import SPLITS, name_pools, own_words

REGISTERS = (
    "news", "business", "sport", "talk", "culture", "tables", "headlines", "quotes", "plain"
)  # fmt: skip
SIZES = {"train": 3_000, "validation": 500, "test": 500}
_NAMES = 900  # in a pool of train
_ALL_CAPS = 0.04  # sentences in capitals
_LONGEST = 40  # words

TaggedText = tuple[list[str], list[str]]


def templates(split: str) -> list[list[list[str]]]:
    """The templates of a split, register by register: of six, four are train's."""
    chosen = []
    for register in REGISTERS:
        lines = [" ".join(tokens) for tokens in read_rules(register)["sentence"]]
        chosen.append([line.split() for line in own_words(lines, split)])
    return chosen


def _finish(words: Words, rng: Random) -> TaggedText:
    """Agrees "a" with the next word, capitalises the first, and sets a few texts in capitals."""
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
    """`count` sentences of a split, all different.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        count: Sentences.
        stream: Which stream: 0 is the corpus itself, others are more text of the same kind.
    """
    rng = Random(1_000 * stream + SPLITS.index(split))
    shared: Rules = read_rules("phrases")
    expander = Expander(shared, name_pools(_NAMES)[split])
    registers = templates(split)
    seen: set[tuple[str, ...]] = set()
    sentences: list[TaggedText] = []
    while len(sentences) < count:
        words = expander.expand(pick(rng, pick(rng, registers)), rng)
        if len(words) > _LONGEST:
            continue
        sentence = _finish(words, rng)
        if tuple(sentence[0]) not in seen:
            seen.add(tuple(sentence[0]))
            sentences.append(sentence)
    return sentences


def ner() -> dict[str, list[TaggedText]]:
    """The corpus: split to (words, IOB2 tags), the same on every machine."""
    return {split: generate(split, count) for split, count in SIZES.items()}
