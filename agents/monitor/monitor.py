"""Labelling the lines of a stream, counting labels by topic, and raising alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lm_gym.agents.files import to_line
from lm_gym.agents.monitor.alerts import Rule, Topic
from lm_gym.agents.monitor.stream import LineError, Message, read_line
from lm_gym.rendering import printable

if TYPE_CHECKING:
    from lm_gym.agents.monitor.classifier import Classifier

REMEMBERED = 10_000  # ids of texts, to recognise duplicates

Scalar = Callable[[str, float, int], None]


class Monitor:
    """Label a stream and raise alerts.

    Args:
        classifier: labels texts.
        rule: when to raise an alert. Its rate of false alarms is the total over the watched labels.
        watched: labels whose share is tested.
        by: key of the topic in a line; None: all texts have the same topic.
        scalar: logs a number by name and line.

    Attributes:
        line: number of lines read.
        offset: number of bytes read.
        counts: numbers of texts, alerts, duplicates (by id), rejected lines, and texts without the key of the topic.
    """

    def __init__(
        self, classifier: Classifier, rule: Rule, watched: Sequence[str], by: str | None, scalar: Scalar | None = None
    ) -> None:
        self._classifier, self._watched, self._by, self._scalar = classifier, list(watched), by, scalar
        self._rule = Rule(rule.baseline, rule.window, rule.step, rule.false_alarms / len(self._watched))
        self._topics: dict[str, dict[str, Topic]] = {}
        self._ids: dict[str, None] = {}
        self.line = self.offset = 0
        self.counts: Counter[str] = Counter()

    def take(self, lines: Sequence[bytes]) -> tuple[list[str], list[bytes]]:
        """Label a batch of lines; return results as lines of JSON, and the lines without a text."""
        rejected: list[bytes] = []
        messages: list[tuple[int, Message]] = []
        for line in lines:
            self.line += 1
            self.offset += len(line)
            try:
                message = read_line(line.rstrip(b"\r\n"), self._by)
            except LineError:
                self.counts["rejected"] += 1
                rejected.append(line if line.endswith(b"\n") else line + b"\n")
                continue
            if message.id is not None and not self._is_new(message.id):
                self.counts["duplicates"] += 1
                continue
            messages.append((self.line, message))
        if not messages:
            return [], rejected
        labelled = self._classifier([message.text for _, message in messages])
        results: list[dict[str, Any]] = []
        for (line_number, message), (label, probability) in zip(messages, labelled, strict=True):
            results += self._results(line_number, message, label, probability)
        return [to_line(result) for result in results], rejected

    def notes(self) -> list[str]:
        """Return what users should know about the texts labelled so far."""
        without = self.counts["without_topic"]
        lacking = f"{without:,} of {self.counts['texts']:,} texts have no {self._by!r}, and share the topic 'None'"
        return [*self._classifier.notes(), *[lacking] * bool(without)]

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for `restore`."""
        topics = {name: {label: asdict(topic) for label, topic in of.items()} for name, of in self._topics.items()}
        known = {"line": self.line, "offset": self.offset, "counts": dict(self.counts), "ids": [*self._ids]}
        return {**known, "rule": asdict(self._rule), "watched": self._watched, "by": self._by, "topics": topics}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state.

        Raises:
            ValueError: the state belongs to another rule, other labels or another key of the topic.
        """
        if state["rule"] != asdict(self._rule) or state["watched"] != self._watched:
            raise ValueError(
                f"the state belongs to {state['rule']} and labels {', '.join(state['watched'])}: give the same options"
            )
        by = state.get("by", self._by)  # earlier versions did not record it
        if by != self._by:
            raise ValueError(f"the state belongs to topics by {by!r}, not by {self._by!r}: give the same --by")
        self.line, self.offset = state["line"], state["offset"]
        self.counts, self._ids = Counter(state["counts"]), dict.fromkeys(state["ids"])
        self._topics = {
            name: {label: Topic(**kept) for label, kept in of.items()} for name, of in state["topics"].items()
        }

    def _results(self, line: int, message: Message, label: str, probability: float) -> list[dict[str, Any]]:
        """Return the result of one text and the alerts that it raises."""
        self.counts["texts"] += 1
        if message.topic is None:
            self.counts["without_topic"] += 1
        topic = str(message.topic)
        about = {"line": line, "id": message.id, "time": message.time, "topic": topic}
        known = {key: value for key, value in about.items() if value is not None}
        results: list[dict[str, Any]] = [{**known, "label": label, "probability": probability}]
        of_topic = self._topics.setdefault(topic, {name: Topic() for name in self._watched})
        for name, share in of_topic.items():
            alert = share.take(self._rule, line, label == name)
            if alert is not None:
                self.counts["alerts"] += 1
                results.append({"alert": name, "topic": topic, **alert})
            if self._scalar is not None and share.seen % self._rule.step == 0 and share.window:
                self._scalar(printable(f"{topic}/{name}"), share.window.count("1") / len(share.window), line)
        return results

    def _is_new(self, id_: str) -> bool:
        if id_ in self._ids:
            return False
        self._ids[id_] = None
        if len(self._ids) > REMEMBERED:
            del self._ids[next(iter(self._ids))]
        return True
