"""Results of settings on validation, each value tried once under the same budget. This is how defaults are chosen.

    python benchmarks/sweep.py --algo es --env.id lm_gym/MaskedLM-v0 --env.dataset wikitext2/valid.txt \
        --try agent.search_space_kwargs.scale=0.03,0.1,0.3,1 --seconds 30

All options except `--try` and `--seconds` are those of `python -m agents.train`. Several `--try` make a grid. The
budget is CPU seconds of this process, without evaluations; schedules follow it. The scale of a search space multiplies
every step that an optimizer takes in it.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

import lm_gym  # noqa: F401
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.command_line import parse_settings


class StopByCPU(BaseCallback):
    """Ends training after a number of seconds of CPU time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.start = seconds, time.process_time()

    def _init_callback(self) -> None:
        self.start = time.process_time()
        self.model.budget_spent = self.spent

    def spent(self) -> float:
        """Return the spent fraction of the budget."""
        return (time.process_time() - self.start) / self.seconds

    def _on_step(self) -> bool:
        return self.spent() < 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--try", dest="tried", action="append", default=[], help="key=value,value,…")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments, options = parser.parse_known_args()
    th.set_num_threads(1)
    keys = [entry.partition("=")[0] for entry in arguments.tried]
    grid = itertools.product(*(entry.partition("=")[2].split(",") for entry in arguments.tried))
    dataset = None
    for values in grid:
        settings = parse_settings([*options, *(f"--{k}={v}" for k, v in zip(keys, values, strict=True))])
        dataset = dataset or make_training_dataset(settings)
        env = make_env(settings, dataset, "train", learning=True)
        validation = make_env(settings, dataset, "validation", env.task.tokenizer)
        metrics = [m.name for m in env.task.all_metrics() if m.while_training]
        agent = make_agent(settings, env)
        if not hasattr(main, "head"):
            main.head = ["algo", *keys, "updates", "forward passes", "CPU s", *metrics]
            print("| " + " | ".join(main.head) + " |\n|" + "---|" * len(main.head), flush=True)
            start = evaluate(agent.policy, validation, texts=settings.evaluation.texts).metrics
            show = [f"{start[m]:.4g}" for m in metrics]
            print("| " + " | ".join(["start", *[""] * len(keys), "0", "0", "0", *show]) + " |", flush=True)
        before = time.process_time()
        agent.learn(2**62, callback=StopByCPU(arguments.seconds), log_interval=None)
        spent = time.process_time() - before
        end = evaluate(agent.policy, validation, texts=settings.evaluation.texts).metrics
        show = [str(agent._n_updates), str(agent.forward_passes), f"{spent:.0f}", *(f"{end[m]:.4g}" for m in metrics)]
        print("| " + " | ".join([settings.algo, *values, *show]) + " |", flush=True)


if __name__ == "__main__":
    main()
