"""Alerts of the monitor: Fisher's test, the rate of false alarms, and messages that count once."""

import json

import numpy as np
import pytest
from scipy.stats import fisher_exact

from lm_gym.agents.monitor.alerts import Rule, Topic, fisher
from lm_gym.agents.monitor.monitor import Monitor


def test_the_test_is_fishers():
    for known, baseline, found, window in ((10, 100, 10, 20), (3, 50, 0, 40), (0, 30, 0, 10), (30, 30, 10, 10)):
        table = [[found, window - found], [known, baseline - known]]
        tails = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert fisher(known, baseline, found, window) == pytest.approx(min(1.0, 2 * min(tails)))


def alerts(rule: Rule, said: np.ndarray) -> list[int]:
    """Return the numbers of the texts at which a topic raises an alert."""
    topic = Topic()
    return [number for number, has in enumerate(said.tolist()) if topic.take(rule, number, has) is not None]


def test_false_alarms_keep_to_the_stated_rate_and_a_shift_is_caught():
    rule = Rule(baseline=200, window=100, step=50, false_alarms=100.0)
    rng = np.random.default_rng(0)
    raised = sum(len(alerts(rule, rng.random(1000) < share)) for share in (0.02, 0.2, 0.5) for _ in range(20))
    assert raised <= 60 + 3 * np.sqrt(60)  # 60 streams of 1,000 texts at 100 in 100,000
    shifted = [alerts(rule, rng.random(800) < np.where(np.arange(800) < 500, 0.2, 0.5)) for _ in range(10)]
    delays = [min((at for at in found if at >= 500), default=9999) - 500 for found in shifted]
    assert max(delays) <= 200


def test_what_an_alert_says_and_that_it_is_raised_once():
    topic, rule = Topic(), Rule(baseline=50, window=20, step=10, false_alarms=50.0)
    said = [False] * 80 + [True] * 60
    found = [(number, alert) for number, has in enumerate(said) if (alert := topic.take(rule, number, has))]
    ((number, alert),) = found
    assert number == 89
    assert alert == {
        "lines": [70, 89],
        "texts": 20,
        "expected": 0.0,
        "observed": 0.5,
        "p": pytest.approx(fisher(0, 50, 10, 20), rel=0.01),
        "level": 0.005,
    }


@pytest.mark.parametrize("wrong", [{"window": 0}, {"baseline": -1}, {"false_alarms": 0.0}, {"false_alarms": 2000.0}])
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rule(**wrong)


class Constant:
    """A classifier that gives every text the same label."""

    labels = ("a", "b")

    def __call__(self, texts):
        return [("a", 1.0)] * len(texts)


def test_labels_watched_share_the_rate_and_clocks_do_not_matter():
    monitor = Monitor(Constant(), Rule(false_alarms=2.0), ("a", "b"), None)
    assert monitor._rule.false_alarms == 1.0
    jumps = [json.dumps({"text": "x", "time": when}).encode() for when in (5, -3, "tomorrow", None)]
    results, _ = monitor.take(jumps)
    assert [json.loads(result).get("time") for result in results] == [5, -3, "tomorrow", None]


def test_only_the_last_ids_are_remembered(monkeypatch):
    monkeypatch.setattr("lm_gym.agents.monitor.monitor.REMEMBERED", 2)
    monitor = Monitor(Constant(), Rule(), ("a",), None)
    for id_ in (1, 2, 1, 3, 1):
        monitor.take([json.dumps({"text": "x", "id": id_}).encode()])
    assert monitor.counts == {"texts": 4, "duplicates": 1}
