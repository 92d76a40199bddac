"""When the share of a label departs from what it was: an exact test on sliding windows, with a stated error rate.

The first texts of a topic are its baseline: K of N have the label. From then on the last W texts of the topic, k of
them with the label, are tested every `step` texts by Fisher's exact test. Where nothing has changed, baseline and
window are drawn alike and each test errs with probability α at most, whatever the share is. So the expected number of
tests that err is at most α for each `step` texts, and α = rate · step / 100,000 keeps the rate that was asked for. An
alert is raised when a test rejects, and not again before a test of the same topic has passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scipy.stats import hypergeom

PER = 100_000  # texts that the rate of false alarms is counted by


@dataclass(frozen=True)
class Rule:
    """What is tested, and how strictly.

    Attributes:
        baseline: N, texts of a topic that its share is learned from.
        window: W, texts that are compared with them.
        step: texts of a topic between two tests.
        false_alarms: expected false alarms in 100,000 texts, at most.

    Raises:
        ValueError: a number that is out of range.
    """

    baseline: int = 500
    window: int = 200
    step: int = 50
    false_alarms: float = 1.0

    def __post_init__(self) -> None:
        for name in ("baseline", "window", "step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give 1 or more texts")
        if not 0 < self.alpha < 1:
            raise ValueError(
                f"false_alarms={self.false_alarms} in {PER:,} texts, tested every {self.step}: give more than 0 "
                f"and less than {PER / self.step:,.0f}"
            )

    @property
    def alpha(self) -> float:
        """The level of each test."""
        return self.false_alarms * self.step / PER


@dataclass
class Topic:
    """What is kept of one topic; plain values, so that it can be written down.

    Attributes:
        seen: texts so far.
        known: of the baseline, those with the label.
        window: the last texts behind the baseline, oldest first: "1" with the label, "0" without.
        lines: the numbers of their lines.
        raised: whether the last test rejected.
    """

    seen: int = 0
    known: int = 0
    window: str = ""
    lines: list[int] = field(default_factory=list)
    raised: bool = False

    def take(self, rule: Rule, line: int, has_label: bool) -> dict[str, Any] | None:
        """Count one text; what an alert says if one is raised.

        Args:
            rule: what is tested.
            line: the number of the text's line.
            has_label: whether the text has the label.
        """
        self.seen += 1
        if self.seen <= rule.baseline:
            self.known += has_label
            return None
        self.window = (self.window + "01"[has_label])[-rule.window :]
        self.lines = [*self.lines, line][-rule.window :]
        behind = self.seen - rule.baseline
        if behind < rule.window or (behind - rule.window) % rule.step:
            return None
        found = self.window.count("1")
        p = fisher(self.known, rule.baseline, found, rule.window)
        before, self.raised = self.raised, p <= rule.alpha
        if before or not self.raised:
            return None
        return {
            "lines": [self.lines[0], self.lines[-1]],
            "texts": rule.window,
            "expected": round(self.known / rule.baseline, 4),
            "observed": round(found / rule.window, 4),
            "p": float(f"{p:.3g}"),
            "level": rule.alpha,
        }


def fisher(known: int, baseline: int, found: int, window: int) -> float:
    """Two-sided p-value of Fisher's exact test, 0 to 1: twice the smaller tail of the hypergeometric distribution.

    Args:
        known: texts with the label among those of the baseline.
        baseline: their number.
        found: texts with the label in the window.
        window: their number.
    """
    drawn = hypergeom(baseline + window, known + found, window)
    return float(min(1.0, 2 * min(drawn.cdf(found), drawn.sf(found - 1))))
