"""The builtin recommendations: simulated users who like some themes and a mood, and slates of items as one-line texts.

An item is a novel, film, series and so on about a person in a situation, both from one theme, in a certain mood. A user
likes two themes and one mood. The relevance of an item is 2 if the user likes its theme and mood, 1 if the user likes
only its theme, and 0 otherwise. The history has items that the user liked and, sometimes, one that does not fit.

Popular themes have more readers, and slates are in an order that favours popular items. `clicks` are the clicks of a
user who looks at the first places of a slate more often: at place r with probability 1 / r ** 0.8, its `propensity`.
The probability of a click on an item that was looked at grows with its relevance.
Splits share no item, no pair of a person and a situation, and no user.
"""

import math
import re
from functools import cache
from importlib import resources
from random import Random
from typing import Any, NamedTuple

from lm_gym.builtin.grammar import pick, shuffled
from lm_gym.builtin.names import SPLITS, own_words

User = dict[str, Any]

SIZES = {"train": 6_000, "validation": 500, "test": 500}
_CATALOGUE = {"train": 1_200, "validation": 300, "test": 300}  # items of each split
_HISTORY, _SLATE = 3, 5
_FITTING, _IN_MOOD = 0.9, 0.7  # items of the history
_LIKED = 0.35  # items of the slate
_CLICKED = (0.1, 0.5, 0.9)  # probability of a click on an item that is looked at, by relevance
_EXAMINED = 0.8  # power of the place in a slate


class Item(NamedTuple):
    """An item.

    Attributes:
        text: its description.
        theme: its theme.
        mood: its mood.
        views: its popularity.
    """

    text: str
    theme: str
    mood: str
    views: int


@cache
def word_lists() -> dict[str, list[list[str]]]:
    """Return the lists by name: persons and situations of themes, adjectives of moods, and others."""
    text = resources.files("lm_gym.builtin").joinpath("sentences", "recommendations.txt").read_text("utf-8")
    lists = {}
    for block in re.split(r"^\[", text, flags=re.M)[1:]:
        name, *lines = block.strip().splitlines()
        marked = [line[2:].split(" | ") for line in lines if line[:2] in ("+ ", "- ")]
        lists[name.strip("]")] = marked or [lines]
    return lists


class UserMaker:
    """Makes the items and users of one split.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
    """

    def __init__(self, split: str) -> None:
        self._rng = Random(6_007 + SPLITS.index(split))
        lists = word_lists()
        self._themes = [name for name in lists if name.startswith("theme.")]
        self._moods = [name for name in lists if name.startswith("mood.")]
        self._weights = {theme: 1.0 / (1 + number) ** 0.5 for number, theme in enumerate(self._themes)}
        self._scenes = {theme: _scenes(lists[theme][0], lists[theme][1], split) for theme in self._themes}
        items: dict[str, Item] = {}
        while len(items) < _CATALOGUE[split]:
            item = self._item()
            items.setdefault(item.text, item)
        self._items = {theme: [i for i in items.values() if i.theme == theme] for theme in self._themes}

    def user(self) -> User:
        """Return one user with a history and a slate."""
        rng = self._rng
        themes = self._liked_themes()
        mood = pick(rng, self._moods)
        other_themes = [theme for theme in self._themes if theme not in themes]
        fitting = [item for theme in themes for item in self._items[theme]]
        in_mood = [item for item in fitting if item.mood == mood]
        history: dict[Item, None] = {}
        while len(history) < _HISTORY:
            pool = in_mood if rng.random() < _IN_MOOD else fitting
            if rng.random() >= _FITTING:
                pool = self._items[pick(rng, other_themes)]
            history.setdefault(pick(rng, pool))
        slate = {pick(rng, [item for item in fitting if item not in history]): None}
        while len(slate) < _SLATE:
            item = pick(rng, fitting if rng.random() < _LIKED else self._items[pick(rng, other_themes)])
            if item not in history:
                slate.setdefault(item)
        worth = {item: (item.theme in themes) * (1 + (item.mood == mood)) for item in slate}
        offered = sorted(shuffled(rng, [*slate]), key=lambda item: math.log(rng.random()) / item.views, reverse=True)
        *before, last = [item.text for item in history]
        return {
            "history": before,
            "liked": last,
            "candidates": [item.text for item in offered],
            "relevance": [worth[item] for item in offered],
            **self._clicks([worth[item] for item in offered]),
            "popularity": [item.views for item in offered],
        }

    def _liked_themes(self) -> list[str]:
        """Draw two themes, popular ones more often."""
        drawn = sorted(self._themes, key=lambda theme: math.log(self._rng.random()) / self._weights[theme])
        return drawn[-2:]

    def _clicks(self, relevance: list[int]) -> dict[str, list[float]]:
        """Return the clicks on a slate, at least one, and the probability that the user looks at each place."""
        seen = [1.0 / place**_EXAMINED for place in range(1, len(relevance) + 1)]
        clicks = [0] * len(relevance)
        while not any(clicks):
            clicks = [
                int(self._rng.random() < chance * _CLICKED[worth])
                for chance, worth in zip(seen, relevance, strict=True)
            ]
        return {"clicks": [*clicks], "propensity": [round(chance, 4) for chance in seen]}

    def _item(self) -> Item:
        rng, lists = self._rng, word_lists()
        theme, mood = pick(rng, self._themes), pick(rng, self._moods)
        person, situation = pick(rng, self._scenes[theme])
        adjective, form = pick(rng, lists[mood][0]), pick(rng, lists["forms"][0])
        wording = pick(rng, lists["wordings"][0])
        first, second = (adjective, person) if wording.startswith("{A} {adjective}") else (person, adjective)
        text = wording.format(
            A=_article(first).capitalize(),
            a=_article(second),
            person=person,
            situation=situation,
            adjective=adjective,
            form=form,
        )
        views = 10 + int(-1_000 * self._weights[theme] * math.log(1.0 - rng.random()))
        return Item(text, theme, mood, views)


def _scenes(persons: list[str], situations: list[str], split: str) -> list[tuple[str, str]]:
    """Return the pairs of persons and situations of a theme that belong to a split."""
    shifted = [situations[shift:] + situations[:shift] for shift in range(len(situations))]
    own = [shifted[int(shift)] for shift in own_words([str(shift) for shift in range(len(shifted))], split)]
    return [pair for moved in own for pair in zip(persons, moved, strict=True)]


def _article(word: str) -> str:
    """Return the indefinite article before a word."""
    return "an" if word[0] in "aeiou" else "a"


def recommendation_splits() -> dict[str, list[User]]:
    """Return the corpus, which is always the same.

    Each split is a list of records with `history`, `liked`, `candidates`, `relevance`, `clicks`, `propensity` and
    `popularity`.
    """
    splits = {}
    for split, size in SIZES.items():
        maker = UserMaker(split)
        splits[split] = [maker.user() for _ in range(size)]
    return splits
