"""Cost of an update if Ray workers draw the rollouts, compared with one process. Writes docs/scaling.md.

    python benchmarks/rollouts.py [--updates 6] [--rounds 3]

REINFORCE trains `tiny` with one thread per process. Every round measures each way in turn, so that other work on the
machine slows all of them down alike. The table has the median over the rounds of the mean time of an update: workers
that draw two rollouts at a time make a slow and a fast update in turn.

Expected, with one core for each process: encoding a text with gradients takes 3 forward passes, and drawing samples of
whole texts 1, which one process without lag saves. With lag, the process that learns does not wait for workers if a
rollout takes less time than an update: it then takes as long as one process without rollouts, in which rewards and
samples are free. On fewer cores than processes, forward passes of workers take time from the one that learns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

import lm_gym
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.text_algorithm import StopTraining

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- benchmarks/rollouts.py -->\n", "<!-- end -->"
JUDGING = 1e-3  # seconds in which the slow reward judges a text


def slow_reward(choices, targets, mask):
    """Return the accuracy of each text, as a judge on another machine would that answers after a while."""
    time.sleep(JUDGING * len(choices))
    return ((choices == targets) & mask).sum(1) / mask.sum(1).clip(min=1)


slow_reward.minimum = 0.0

TEXTS = {"id": "lm_gym/NER-v0", "num_envs": 32, "max_length": 64}
CASES = {
    "named entities, 16 samples": (TEXTS, {"samples": 16}),
    f"the same, a reward that waits {JUDGING * 1e3:g} ms for each text": (
        {**TEXTS, "reward": slow_reward}, {"samples": 16},
    ),
    "Sudoku, left to right": ({"id": "lm_gym/Unmasking-v0", "num_envs": 16, "order": "left_to_right"}, {}),
}  # fmt: skip
WAYS = {  # number of workers, and lag
    "one process": (0, 0),
    "one process, lag 1": (0, 1),
    "1 worker, lag 1": (1, 1),
    "2 workers, lag 1": (2, 1),
}


class Updates(BaseCallback):
    """Record when updates begin, and stop training before one more than a number of them."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.times = number, []

    def _on_rollout_start(self) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > self.number:
            raise StopTraining

    def _on_step(self) -> bool:
        return True


def build(env, agent, lag: int) -> REINFORCE:
    made = gymnasium.make_vec(**{"unit": "sequence", "autoreset_mode": "SameStep", **env})
    return REINFORCE("LMPolicy", made, 1e-4, seed=0, device="cpu", lag=lag, **agent)


def seconds(agent: REINFORCE, updates: int) -> float:
    """Return the mean seconds of an update."""
    clock = Updates(updates)
    agent.learn(10**12, callback=clock, log_interval=None, reset_num_timesteps=agent.updates == 0)
    return (clock.times[-1] - clock.times[0]) / updates


def measure(rollouts, env, agent, updates: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of an update in each way, and the bytes that its workers receive and send."""
    agents = {way: build(env, agent, lag) for way, (_, lag) in WAYS.items()}
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    traffic: dict[str, tuple[float, float]] = dict.fromkeys(WAYS, (0.0, 0.0))
    for way, (workers, _) in itertools.chain.from_iterable([WAYS.items()] * rounds):
        if workers:
            rollouts.resize(workers)
            agents[way].rollouts = rollouts
            rollouts.wait(agents[way])
        seconds(agents[way], 1)
        before = vars(rollouts.traffic).copy()
        found[way].append(seconds(agents[way], updates))
        spent = vars(rollouts.traffic)
        traffic[way] = ((spent["down"] - before["down"]) / updates, (spent["up"] - before["up"]) / updates)
    weights = {way: [p.detach() for p in each.policy.parameters()] for way, each in agents.items()}
    same = {way: all(map(th.equal, weights[way], weights["one process, lag 1"])) for way in WAYS}
    return {
        way: {"seconds": statistics.median(times), "down": traffic[way][0], "up": traffic[way][1], "same": same[way]}
        for way, times in found.items()
    }


def text(rows: dict[str, dict[str, dict[str, float]]], load: float) -> str:
    """Return the generated part of the page."""
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"The time of an update, relative to that of one process without lag, and in seconds (`tiny`, one thread per "
        f"process, torch {th.__version__}, {cores} cores that all processes share with other work, load average "
        f"{load:.1f}).",
        "",
        "| | way | relative | s | bytes down | bytes up | weights equal those of one process with this lag |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for case, ways in rows.items():
        for way, row in ways.items():
            workers, _ = WAYS[way]
            sent = [f"{row[key]:,.0f}" if workers else "" for key in ("down", "up")]
            same = ("yes" if row["same"] else "NO") if workers else ""
            ratio = row["seconds"] / ways["one process"]["seconds"]
            lines.append(f"| {case} | {way} | {ratio:.2f} | {row['seconds']:.2f} | {sent[0]} | {sent[1]} | {same} |")
            case = ""
    return "\n".join(["", *lines, "", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    load = os.getloadavg()[0]
    from lm_gym.agents.algorithms.ray_rollouts import RayRollouts

    with RayRollouts(2) as rollouts:
        rows = {name: measure(rollouts, *case, given.updates, given.rounds) for name, case in CASES.items()}
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + text(rows, load) + END + after, encoding="utf-8")
    print(text(rows, load))


if __name__ == "__main__":
    assert lm_gym  # registers the environments
    main()
