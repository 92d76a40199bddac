"""The builtin customer service: messages to a shop, the turns before them, and candidate replies.

A message has one of 46 intents and is about a product, an order and sometimes a date. The right reply answers the
intent and names the product, order or date of the conversation. Wrong replies name another product, order or date, or
answer another intent. Neither the intent nor shared words are therefore enough, and the candidates alone do not reveal
which of them is right. Splits share no wording of a message and no product; the replies of the shop are the same.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any

from lm_gym.builtin.grammar import pick, shuffled
from lm_gym.builtin.names import SPLITS, own_words

Conversation = dict[str, Any]

SIZES = {"train": 8_000, "validation": 500, "test": 500}
_FEW = 0.6  # of the texts have three candidates instead of four
_NEAR = 0.3  # of the wrong intents have the same topic
_SLOTS = 0.3  # of the texts have replies that differ by one slot
_OPENINGS, _CLOSINGS = 0.3, 0.3  # of the messages
_IN_TURNS = 0.4  # of the conversations
_TYPOS = 0.3  # of the messages
_DATED = 0.5  # of the wrong slots, if the reply names a date
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")


@dataclass(frozen=True)
class Intent:
    """An intent of a customer: wordings of the message and of the reply."""

    topic: str
    messages: list[str]
    replies: list[str]


@cache
def sentences() -> tuple[dict[str, Intent], dict[str, list[str]]]:
    """Return the intents by name, and the other lists of wordings by name."""
    text = resources.files("lm_gym.builtin").joinpath("sentences", "customer_service.txt").read_text("utf-8")
    intents: dict[str, Intent] = {}
    lists: dict[str, list[str]] = {}
    for block in re.split(r"^\[", text, flags=re.M)[1:]:
        name, *lines = block.strip().splitlines()
        name = name.strip("]")
        if "." in name:
            asked, said = ([line[2:] for line in lines if line.startswith(mark)] for mark in "?!")
            intents[name] = Intent(name.partition(".")[0], asked, said)
        else:
            lists[name] = lines
    return intents, lists


class ConversationMaker:
    """Makes the conversations of one split.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
    """

    def __init__(self, split: str) -> None:
        self._rng = Random(4_001 + SPLITS.index(split))
        self._intents, lists = sentences()
        self._messages = {name: own_words(intent.messages, split) for name, intent in self._intents.items()}
        self._lists = {name: own_words(lines, split) for name, lines in lists.items()}

    def conversation(self) -> Conversation:
        """Return one conversation with its candidates and the index of the right one."""
        rng = self._rng
        name = pick(rng, [*self._intents])
        slots, wrong = self._slots(), self._slots()
        while any(slots[slot] == wrong[slot] for slot in slots):
            wrong = self._slots()
        message = self._fill(pick(rng, self._messages[name]), slots)
        dated = slots["date"] in message
        reply = self._reply(name, dated)
        right = reply.format(**slots)
        others = self._others(name, dated)
        wrong_ones = [other.format(**slots) for other in others]
        if rng.random() < _SLOTS:
            wrong_ones[1:] = [self._another(reply, slots, wrong), self._another(others[0], slots, wrong)]
        if rng.random() < _FEW:
            wrong_ones.pop(int(rng.random() * 3))
        listed = shuffled(rng, [right, *wrong_ones])
        return {**self._told(message, slots), "candidates": listed, "answer": listed.index(right), "intent": name}

    def _told(self, message: str, slots: dict[str, str]) -> dict[str, Any]:
        """Return the message with the order number, in the message or in a separate turn after a question."""
        rng, lists = self._rng, self._lists
        opening = pick(rng, lists["opening"])
        if rng.random() < _OPENINGS:
            message = re.sub(r"\bi\b", "I", f"{opening} {message[0].lower()}{message[1:]}")
        if rng.random() < _IN_TURNS:
            answer = pick(rng, lists["give"]).format(**slots)
            return {"turns": [self._typed(message, slots), pick(rng, lists["ask"])], "message": answer}
        message = f"{message} {pick(rng, lists['number']).format(**slots)}"
        if rng.random() < _CLOSINGS:
            message = f"{message} {pick(rng, lists['closing'])}"
        return {"turns": [], "message": self._typed(message, slots)}

    def _slots(self) -> dict[str, str]:
        rng = self._rng
        order = "".join(str(int(rng.random() * 10)) for _ in range(3))
        day = f"{1 + int(rng.random() * 28)} {pick(rng, list(_MONTHS))}"
        return {
            "product": pick(rng, self._lists["products"]),
            "order": f"{1 + int(rng.random() * 9)}{order}",
            "date": day,
        }

    def _reply(self, name: str, dated: bool) -> str:
        """Return a reply to an intent, which names a date only if the customer did."""
        replies = [reply for reply in self._intents[name].replies if dated or "{date}" not in reply]
        return pick(self._rng, replies or self._intents[name].replies)

    def _others(self, name: str, dated: bool) -> list[str]:
        """Return replies to three other intents, some of the same topic."""
        found: dict[str, str] = {}
        while len(found) < 3:
            near, topic = self._rng.random() < _NEAR, self._intents[name].topic
            other = pick(
                self._rng, [o for o, i in self._intents.items() if o != name and (not near or i.topic == topic)]
            )
            reply = self._reply(other, dated)
            if dated or "{date}" not in reply:
                found.setdefault(other, reply)
        return [*found.values()]

    def _another(self, reply: str, slots: dict[str, str], wrong: dict[str, str]) -> str:
        """Return the same reply with another product, order or date."""
        held = [slot for slot in slots if f"{{{slot}}}" in reply]
        slot = "date" if "date" in held and self._rng.random() < _DATED else held[0]
        return reply.format(**{**slots, slot: wrong[slot]})

    def _fill(self, wording: str, slots: dict[str, str]) -> str:
        chosen = re.sub(r"<([^>]*)>", lambda found: pick(self._rng, found[1].split("|")), wording)
        return chosen.format(**slots)

    def _typed(self, message: str, slots: dict[str, str]) -> str:
        """Return the message as a person types it, sometimes with a typing error."""
        words, kept = message.split(), {word for value in slots.values() for word in value.split()}
        able = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 4 and word not in kept]
        if not able or self._rng.random() >= _TYPOS:
            return message
        i = pick(self._rng, able)
        word, at = words[i], 1 + int(self._rng.random() * (len(words[i]) - 2))
        slips = [word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]]
        slips.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        words[i] = pick(self._rng, slips)
        return " ".join(words)


def reply_splits() -> dict[str, list[Conversation]]:
    """Return the corpus: split → records with `turns`, `message`, `candidates`, `answer`, `intent`; always the same."""
    splits = {}
    for split, size in SIZES.items():
        maker = ConversationMaker(split)
        made: dict[str, Conversation] = {}
        while len(made) < size:
            record = maker.conversation()
            made.setdefault(" | ".join([*record["turns"], record["message"]]), record)
        splits[split] = [*made.values()]
    return splits
