"""A small grammar of English sentences: text files with rules that are expanded at random.

A file defines symbols. A line `[name]` starts a symbol, and the lines after it are its alternatives, one per line. A
line that begins with `=` lists several alternatives of one word each. An alternative is a sequence of words,
`<symbol>`, `<this|that_too>` (one of several literals; `_` stands for a space), and `{TYPE.kind}` or
`{TYPE.kind|kind}` (a name of that entity type).
"""

from dataclasses import dataclass
from importlib import resources
from random import Random
from typing import TypeVar

T = TypeVar("T")
Token = str
Rules = dict[str, list[list[Token]]]
Words = list[tuple[str, str]]  # (word, tag)


def pick(rng: Random, items: list[T]) -> T:
    """Pick one item uniformly. Only `rng.random()` is used, whose sequence is the same in every Python version."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: Random, items: list[T]) -> list[T]:
    """Return a shuffled copy of `items`. Like `pick`, it gives the same result in every Python version."""
    return [item for _, _, item in sorted((rng.random(), i, item) for i, item in enumerate(items))]


def read_rules(name: str) -> Rules:
    """Read the rules in `lm_gym/builtin/sentences/<name>.txt`."""
    text = resources.files("lm_gym.builtin").joinpath("sentences", f"{name}.txt").read_text("utf-8")
    rules: Rules = {}
    alternatives: list[list[Token]] = []
    for line in text.splitlines():
        tokens = line.split()
        if not tokens or line.startswith("# "):
            continue
        if len(tokens) == 1 and line.startswith("[") and line.endswith("]"):
            alternatives = rules.setdefault(line[1:-1], [])
        elif tokens[0] == "=":
            alternatives.extend([token] for token in tokens[1:])
        else:
            alternatives.append(tokens)
    return rules


@dataclass(frozen=True)
class Expander:
    """Expand tokens with rules and pools of names.

    Attributes:
        rules: the alternatives of each symbol.
        names: the names of each `"TYPE.kind"`; a name is a tuple of words.
    """

    rules: Rules
    names: dict[str, list[tuple[str, ...]]]

    def expand(self, tokens: list[Token], rng: Random) -> tuple[Words, list[Token]]:
        """Expand `tokens` once at random. Return the (word, IOB2 tag) pairs and the shape.

        The shape is the sentence with each name replaced by its type and each word from a list by the list.
        """
        words: Words = []
        shape: list[Token] = []
        for token in tokens:
            if token.startswith("{"):
                words.extend(self._name(token[1:-1], rng))
                shape.append(token[1:-1].partition(".")[0])
            elif token.startswith("<") and "|" in token:
                words.extend((word, "O") for word in pick(rng, token[1:-1].split("|")).split("_"))
                shape.append(token)
            elif token.startswith("<"):
                alternatives = self.rules[token[1:-1]]
                inner, inner_shape = self.expand(pick(rng, alternatives), rng)
                words.extend(inner)
                is_list = all(len(alternative) == 1 and alternative[0].isalnum() for alternative in alternatives)
                shape.extend([token] if is_list else inner_shape)
            else:
                words.append((token, "O"))
                shape.append(token)
        return words, shape

    def _name(self, slot: str, rng: Random) -> Words:
        entity, _, kinds = slot.partition(".")
        name = pick(rng, self.names[f"{entity}.{pick(rng, kinds.split('|'))}"])
        return [(word, f"{'I' if i else 'B'}-{entity}") for i, word in enumerate(name)]
