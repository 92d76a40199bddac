"""Alerts when the share of a label changes: an exact test on sliding windows, with a stated rate of false alarms.

The first N texts of a topic are its baseline; K of them have the label. After that, Fisher's exact test compares the
last W texts of the topic with the baseline every `step` texts. If nothing has changed, baseline and window come from
the same distribution, and each test rejects with probability at most α, for any share. The expected number of false
rejections is therefore at most α per `step` texts, and α = rate · step / 100,000 keeps the requested rate. A rejection
raises an alert, unless the previous test of the topic rejected too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PER = 100_000  # number of texts to which the rate of false alarms refers


@dataclass(frozen=True)
class Rule:
    """The parameters of the test.

    Attributes:
        baseline: N, number of texts that define the normal share of a topic.
        window: W, number of texts compared with the baseline.
        step: number of texts of a topic between two tests.
        false_alarms: upper bound of the expected false alarms per 100,000 texts.

    Raises:
        ValueError: a number is out of range.
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
    """The state of one topic and label, in plain values.

    Attributes:
        seen: number of texts so far.
        known: number of texts of the baseline with the label.
        window: the last texts after the baseline, oldest first: "1" with the label, "0" without.
        lines: line numbers of these texts.
        raised: whether the last test rejected.
    """

    seen: int = 0
    known: int = 0
    window: str = ""
    lines: list[int] = field(default_factory=list)
    raised: bool = False

    def take(self, rule: Rule, line: int, has_label: bool) -> dict[str, Any] | None:
        """Add one text; return the content of an alert if it raises one.

        Args:
            rule: the parameters of the test.
            line: line number of the text.
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
    """Compute the two-sided p-value of Fisher's exact test: twice the smaller tail of the hypergeometric distribution.

    Args:
        known: number of texts of the baseline with the label.
        baseline: size of the baseline.
        found: number of texts of the window with the label.
        window: size of the window.
    """
    from scipy.stats import hypergeom  # takes a second to load

    drawn = hypergeom(baseline + window, known + found, window)
    return float(min(1.0, 2 * min(drawn.cdf(found), drawn.sf(found - 1))))
