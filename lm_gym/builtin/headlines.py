"""The builtin financial headlines: what they mean for a company, and which part of its business they are about.

A headline has one or two clauses, and the main clause decides. The other clause has good news, bad news or no news,
but never the same as the main one, so that only the order of words and the conjunction show which of the two counts. A
clause reports an event, which is good or bad news, or a rise or fall, whose meaning depends on its subject (sales or
fines). Denials and open questions are no news. A headline also has labels for everything that it reports: "good" and
"bad" if a clause is such news, and the topics of the clauses that report news. A headline without news has no labels.
Splits share no company, no template of a clause and no number format; events, subjects and all other words are the
same.
"""

from dataclasses import dataclass
from importlib import resources
from random import Random

from lm_gym.builtin.grammar import pick
from lm_gym.builtin.names import SPLITS, name_pools, own_words

Record = dict[str, str | list[str]]

SIZES = {"train": 8_000, "validation": 500, "test": 500}
SENTIMENTS = ("negative", "neutral", "positive")
_NEWS_LABELS = {1: "good", -1: "bad"}
_NAMES = 300  # in a pool; so few that names recur and tell nothing about a headline
_TWO_CLAUSES = 0.5  # of the headlines

# By topic: subjects of which more is good, and of which more is bad.
SUBJECTS = {
    "earnings": (("profit", "margins"), ("losses", "write-offs")),
    "sales": (("sales", "orders"), ("returns", "refunds")),
    "funding": (("deposits", "reserves"), ("debts", "arrears")),
    "staff": (("salaries", "new jobs"), ("strikes", "accidents")),
    "law": (("patents", "permits"), ("fines", "lawsuits")),
    "output": (("output", "deliveries"), ("delays", "defects")),
}
# By topic: good news, and bad.
EVENTS = {
    "earnings": (
        ("beat its forecast", "returned to profit", "raised its dividend"),
        ("missed its forecast", "slipped into loss", "cut its dividend"),
    ),
    "sales": (
        ("won a large order", "gained new customers", "entered a new market"),
        ("lost a large order", "lost old customers", "left a market"),
    ),
    "funding": (
        ("repaid a loan", "found new lenders", "won a better rating"),
        ("defaulted on a loan", "ran short of cash", "lost its rating"),
    ),
    "staff": (
        ("hired new staff", "ended a strike", "shared a bonus"),
        ("laid off staff", "faced a strike", "froze all wages"),
    ),
    "law": (
        ("won a lawsuit", "received a licence", "was cleared of fraud"),
        ("lost a lawsuit", "was fined", "was charged with fraud"),
    ),
    "output": (
        ("opened a new plant", "finished a project early", "doubled its output"),
        ("closed a plant", "recalled a product", "halted its output"),
    ),
}
_TOPICS = tuple(SUBJECTS)
_MOVED = {1: ("rose", "climbed", "jumped"), -1: ("fell", "dropped", "sank")}
_MOVE = {1: ("rise", "jump", "climb"), -1: ("fall", "drop", "slump")}
_WORDS = {
    "denied": ("denied", "rejected"),
    "unchanged": ("unchanged", "flat", "steady"),
    "ordinal": ("second", "third", "fourth"),
    "when": (
        "this year", "last quarter", "in spring", "in March", "in June", "over the summer", "on Monday", "last week",
    ),
}  # fmt: skip
AMOUNTS = {
    "train": ("{a} pct", "{a}.{b} pct", "${a}m", "{a} points"),
    "validation": ("{a} percent", "EUR {a}.{b} m"),
    "test": ("{a}.{b} %", "GBP {a} million"),
}
_NEWS = (*("event",) * 6, "moved", "move")  # kinds of clauses, with frequencies
_NO_NEWS = ("open", "open", "flat")


@dataclass(frozen=True)
class Clause:
    """A clause: its words, its sign (1 is good news, -1 bad, 0 neither), and its topic."""

    text: str
    sign: int
    topic: str


def templates(split: str) -> dict[str, list[str]]:
    """Return the templates by kind: clauses of a split, and all ways to join two of them."""
    text = resources.files("lm_gym.builtin").joinpath("sentences", "finance.txt").read_text("utf-8")
    kinds: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            lines = kinds.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {kind: lines if kind == "joined" else own_words(lines, split) for kind, lines in kinds.items()}


class HeadlineMaker:
    """Makes the headlines of one split.

    Args:
        split: `"train"`, `"validation"` or `"test"`.

    Attributes:
        companies: the names to choose from.
    """

    def __init__(self, split: str) -> None:
        self._rng = Random(9_001 + SPLITS.index(split))
        self._templates = templates(split)
        self.companies = [" ".join(name) for name in name_pools(_NAMES)[split]["ORG.firm"]]
        self._amounts = AMOUNTS[split]
        self._made = 0

    def headline(self) -> Record:
        """Return a headline with its sentiment, the topic of its main clause, and the labels of all that it reports."""
        turn, sign = divmod(self._made, 3)  # both labels in turn, so that they are balanced
        main = self._clause(sign - 1, _TOPICS[turn % len(_TOPICS)])
        self._made += 1
        text, clauses = main.text, [main]
        if self._rng.random() < _TWO_CLAUSES:
            other = pick(self._rng, [sign for sign in (-1, 0, 1) if sign != main.sign])
            minor = self._clause(other, pick(self._rng, list(_TOPICS)))
            clauses.append(minor)
            text = pick(self._rng, self._templates["joined"]).format(main=main.text, minor=minor.text)
        sentiment, labels = SENTIMENTS[main.sign + 1], _reported(clauses)
        return {"text": _finish(text), "sentiment": sentiment, "topic": main.topic, "labels": labels}

    def _clause(self, sign: int, topic: str) -> Clause:
        kind = pick(self._rng, list(_NEWS if sign else _NO_NEWS))
        bad = pick(self._rng, [False, True])  # whether more of the subject is bad
        up = pick(self._rng, [-1, 1]) if sign == 0 else -sign if bad else sign
        good_news = pick(self._rng, [False, True]) if sign == 0 else sign > 0
        words = {name: pick(self._rng, list(values)) for name, values in _WORDS.items()}
        text = pick(self._rng, self._templates[kind]).format(
            company=pick(self._rng, self.companies),
            event=pick(self._rng, list(EVENTS[topic][not good_news])),
            subject=pick(self._rng, list(SUBJECTS[topic][bad])),
            moved=pick(self._rng, list(_MOVED[up])),
            move="a " + pick(self._rng, list(_MOVE[up])),
            amount=self._amount(),
            **words,
        )
        return Clause(text, sign, topic)

    def _amount(self) -> str:
        a, b = 1 + int(self._rng.random() * 60), 1 + int(self._rng.random() * 9)
        return pick(self._rng, list(self._amounts)).format(a=a, b=b)


def _reported(clauses: list[Clause]) -> list[str]:
    """Return the labels of the news in these clauses."""
    news = [clause for clause in clauses if clause.sign]
    return sorted({label for clause in news for label in (_NEWS_LABELS[clause.sign], clause.topic)})


def _finish(text: str) -> str:
    """Return the text with "an" before vowels and a capital at its beginning."""
    words = text.split()
    for i, word in enumerate(words[:-1]):
        if word == "a" and words[i + 1][0] in "aeiou":
            words[i] = "an"
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def headline_splits() -> dict[str, list[Record]]:
    """Return the corpus: split → records with `text`, `sentiment`, `topic` and `labels`.

    It is the same on every machine.
    """
    splits = {}
    for split, size in SIZES.items():
        maker = HeadlineMaker(split)
        made: dict[str, Record] = {}
        while len(made) < size:
            record = maker.headline()
            made.setdefault(str(record["text"]), record)
        splits[split] = [*made.values()]
    return splits
