"""A small grammar of English sentences: text files of rules, expanded at random.

A file holds symbols, `[name]`, each followed by its alternatives, one a line; a line that begins with `=`
lists one-word alternatives. An alternative is a sequence of words, of `<symbol>`, of `<this|that_too>` (one
of several literals, `_` for a space) and of `{TYPE.kind}` or `{TYPE.kind|kind}` (a name of that entity type).
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
    """One item, uniformly, from the stream of `rng.random()` alone, which Python keeps stable for ever."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: Random, items: list[T]) -> list[T]:
    """A permuted copy of `items`, stable across Python versions as `pick` is."""
    return [item for _, _, item in sorted((rng.random(), i, item) for i, item in enumerate(items))]


def read_rules(name: str) -> Rules:
    """The rules of `lm_gym/builtin/sentences/<name>.txt`."""
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
    """Expands tokens with rules and pools of names.

    Attributes:
        rules: Symbol to alternatives.
        names: `"TYPE.kind"` to names, each a tuple of words.
    """

    rules: Rules
    names: dict[str, list[tuple[str, ...]]]

    def expand(self, tokens: list[Token], rng: Random) -> tuple[Words, list[Token]]:
        """One random expansion of `tokens`: its (word, IOB2 tag) pairs, and its shape.

        The shape is the sentence with names replaced by their types, and words out of a list by the list.
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
