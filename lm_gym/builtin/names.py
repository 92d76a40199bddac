"""Names of people, places, organisations and other things, made from word lists and syllables.

The same word may be a surname, a town, a firm, a club or a product, so that only the sentence around it tells
which one it is. Each split has its own names. Parts of longer names (a first name, "Bank") occur in several splits.
"""

from functools import lru_cache
from importlib import resources
from random import Random

from lm_gym.builtin.grammar import pick, shuffled

Name = tuple[str, ...]
Pools = dict[str, list[Name]]
Lists = dict[str, list[str]]

SPLITS = ("train", "validation", "test")
_SHARE = 6  # out of six words, four belong to train, one to validation, one to test


def read_lists() -> Lists:
    """Read the word lists of `names.txt`, by header. `_` stands for a space inside an entry."""
    text = resources.files("lm_gym.builtin").joinpath("names.txt").read_text("utf-8")
    lists: Lists = {}
    for line in text.splitlines():
        if line.startswith("["):
            current = lists.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            current.extend(line.split())
    return lists


def own_words(words: list[str], split: str) -> list[str]:
    """Select the words of a list that belong to `split`. The position decides, so the splits are disjoint."""
    first = {"train": 0, "validation": 4, "test": 5}[split]
    last = {"train": 3, "validation": 4, "test": 5}[split]
    return [word for i, word in enumerate(words) if first <= i % _SHARE <= last]


class NameMaker:
    """Make the pools of names of one split.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        lists: the result of `read_lists`.
        size: the approximate number of names in a pool.
    """

    def __init__(self, split: str, lists: Lists, size: int) -> None:
        self._rng = Random(7_001 + SPLITS.index(split))
        self._lists = lists
        self._size = size
        self._first = own_words(lists["first"], split)
        common = own_words(lists["common"], split)
        place = own_words(lists["place"], split)
        self._bare = shuffled(self._rng, common + place)
        self._years = [str(year) for year in range(1960, 2025)]
        self._common = common
        self._place = place
        self._stems = [self._stem() for _ in range(size)]
        self._coined_first = [self._coined("first_end") for _ in range(size // 4)]
        self._countries = [tuple(pair.split("/")) for pair in own_words(lists["country"], split)]
        self._countries += [self._invented_country() for _ in range(size // 10)]

    def _stem(self) -> str:
        parts = [pick(self._rng, self._lists[key]) for key in ("onset", "vowel", "coda")]
        if self._rng.random() < 0.2:
            parts += [pick(self._rng, self._lists["vowel"]), pick(self._rng, self._lists["coda"])]
        return "".join(parts)

    def _invented_country(self) -> Name:
        stem = pick(self._rng, self._stems)
        country, adjective = pick(
            self._rng, [("ia", "ian"), ("land", "landish"), ("istan", "istani"), ("or", "orese"), ("ova", "ovan")]
        )
        return stem + country, stem + adjective

    def _from(self, key: str) -> list[str]:
        return pick(self._rng, self._lists[key]).split("_")

    def _coined(self, ending: str) -> str:
        endings = self._lists[ending if self._rng.random() < 0.9 else "plain_end"]
        return pick(self._rng, self._stems) + pick(self._rng, endings)

    def _surname(self) -> str:
        chance = self._rng.random()
        if chance < 0.3:
            return pick(self._rng, self._bare)
        surname = self._coined("person_end")
        if chance > 0.93:
            surname = pick(self._rng, ["Mc", "O'", "Mac", "De", "Van"]) + surname
        return surname

    def _town(self) -> str:
        return pick(self._rng, self._bare) if self._rng.random() < 0.3 else self._coined("place_end")

    def _full_name(self, surnames: list[Name]) -> Name:
        known = self._first if self._rng.random() < 0.6 else self._lists["first"]
        first = pick(self._rng, self._coined_first if self._rng.random() < 0.5 else known)
        surname = pick(self._rng, surnames)
        chance = self._rng.random()
        if chance < 0.06:
            return (f"{first[0]}.", *surname)
        if chance < 0.12:
            return (first, f"{chr(65 + int(self._rng.random() * 26))}.", *surname)
        if chance < 0.16:
            return (first, pick(self._rng, ["van", "de", "von", "al"]), *surname)
        return (first, *surname)

    def _city(self) -> Name:
        chance = self._rng.random()
        if chance < 0.08:
            return (pick(self._rng, ["Port", "San", "New", "Saint", "Santa", "Los", "East"]), self._town())
        if chance < 0.11:
            return (f"{self._town()}-on-{pick(self._rng, ['Sea', 'Moor', 'Tyne', 'Vale'])}",)
        return (self._town(),)

    def _firm(self) -> Name:
        chance = self._rng.random()
        if chance < 0.35:
            return (pick(self._rng, self._common),)
        return (self._surname() if chance < 0.5 else self._coined("firm_end"),)

    def _company(self) -> Name:
        chance = self._rng.random()
        stem = pick(self._rng, self._common) if chance < 0.5 else self._surname()
        if chance < 0.1:
            return (stem, "&", pick(self._rng, ["Sons", "Co", self._surname()]))
        if chance < 0.2:
            return (self._town(), *self._from("company"))
        if chance < 0.3:
            return (stem, *self._from("company"), pick(self._rng, ["Inc", "Ltd", "plc", "AG", "SA"]))
        return (stem, *self._from("company"))

    def _acronym(self) -> Name:
        size = 3 if self._rng.random() < 0.7 else 4
        return ("".join(chr(65 + int(self._rng.random() * 26)) for _ in range(size)),)

    def _body(self) -> Name:
        chance = self._rng.random()
        if chance < 0.35:
            return (*self._from("body"), *self._from("subject"))
        if chance < 0.5:
            return ("University", "of", self._town())
        if chance < 0.62:
            return (self._town(), pick(self._rng, ["University", "Hospital", "College", "Museum", "Library"]))
        if chance < 0.75:
            return (pick(self._rng, ["National", "Royal", "United"]), "Union", "of", *self._from("members"))
        if chance < 0.87:
            return (self._town(), pick(self._rng, ["City", "County", "Town"]), "Council")
        return ("Bank", "of", self._town())

    def _party(self) -> Name:
        place = (pick(self._rng, self._countries)[1],) if self._rng.random() < 0.1 else ()
        return (*place, *self._from("party_first"), *self._from("party_last"), "Party")

    def _club(self) -> Name:
        chance = self._rng.random()
        if chance < 0.15:
            return (pick(self._rng, ["FC", "Real", "AC", "Inter", "Dynamo"]), self._town())
        return (self._town(), *self._from("club"))

    def _paper(self) -> Name:
        first = self._town() if self._rng.random() < 0.6 else pick(self._rng, ["Daily", "Evening", "Morning"])
        return (first, *self._from("paper"))

    def _region(self) -> Name:
        chance = self._rng.random()
        if chance < 0.4:
            return (self._town(), *self._from("relief"))
        if chance < 0.75:
            return (*self._from("water"), self._town())
        return (*self._from("compass"), self._town())

    def _event(self) -> Name:
        chance = self._rng.random()
        if chance < 0.4:
            return (self._town(), *self._from("event"))
        if chance < 0.65:
            return (self._surname(), *self._from("event"))
        if chance < 0.85:
            return (pick(self._rng, self._countries)[1], *self._from("event"))
        return (
            pick(self._rng, self._years),
            pick(self._rng, ["World", "European"]),
            *self._from("event"),
        )

    def _work(self) -> Name:
        chance = self._rng.random()
        noun = self._from("title_noun")
        if chance < 0.55:
            return ("The", *self._from("title_adj"), *noun)
        if chance < 0.75:
            return (*self._from("title_adj"), *noun)
        if chance < 0.83:
            return (pick(self._rng, [*self._first, *self._place]), "and", "the", *noun)
        return ("A", *noun, pick(self._rng, ["for", "in", "from"]), "the", *self._from("title_noun"))

    def _product(self) -> Name:
        chance = self._rng.random()
        if chance < 0.15:
            return (pick(self._rng, self._common),)
        if chance < 0.8:
            stem = pick(self._rng, self._common) if chance < 0.6 else self._coined("firm_end")
            return (stem, *self._from("product"))
        return (f"{self._acronym()[0][:2]}-{pick(self._rng, ['3', '40', '7', '500', '90', '12'])}",)

    def pools(self) -> Pools:
        """Make the pools, by `"TYPE.kind"`. A name may be in several pools, and several times in one."""
        lasts: list[Name] = [(self._surname(),) for _ in range(self._size)]
        cities = [self._city() for _ in range(self._size)]
        many = range(self._size)
        some = range(self._size // 3)
        pools: Pools = {
            "PER.last": lasts + [self._full_name(lasts) for _ in range(self._size // 2)],
            "PER.full": [self._full_name(lasts) for _ in many],
            "PER.first": [(name,) for name in self._first + self._coined_first],
            "LOC.city": cities,
            "LOC.country": [(country,) for country, _ in self._countries],
            "LOC.region": [self._region() for _ in many],
            "LOC.street": [(self._town(), *self._from("street")) for _ in some],
            "ORG.firm": [self._firm() for _ in many] + [self._company() for _ in many],
            "ORG.company": [self._company() for _ in many],
            "ORG.acronym": [self._acronym() for _ in some],
            "ORG.body": [self._body() for _ in many],
            "ORG.party": [self._party() for _ in some],
            "ORG.club": [self._club() for _ in many],
            "ORG.team": [pick(self._rng, cities) for _ in many] + [self._club() for _ in many for _ in "ab"],
            "ORG.paper": [self._paper() for _ in some],
            "MISC.nat": [(adjective,) for _, adjective in self._countries],
            "MISC.event": [self._event() for _ in many],
            "MISC.work": [self._work() for _ in many],
            "MISC.product": [self._product() for _ in many],
        }
        pools["ORG.any"] = [name for kind in ("company", "firm", "body") for name in pools[f"ORG.{kind}"]] + 2 * pools[
            "ORG.acronym"
        ]
        return pools


@lru_cache(maxsize=2)
def name_pools(size: int) -> dict[str, Pools]:
    """Make the pools of every split, with `size` names per pool in train and a third of that in validation and test.

    A name of one split never occurs in an earlier split, regardless of its type or case.
    """
    lists = read_lists()

    seen: set[str] = set()
    pools: dict[str, Pools] = {}
    for split in SPLITS:
        made = NameMaker(split, lists, size if split == "train" else size // 3).pools()
        pools[split] = {
            kind: [name for name in names if " ".join(name).lower() not in seen] for kind, names in made.items()
        }
        seen.update(" ".join(name).lower() for names in pools[split].values() for name in names)
    return pools
