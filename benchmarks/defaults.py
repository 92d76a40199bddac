"""Results of every combination of task, algorithm and model with the default settings, and where each one starts.

    python benchmarks/defaults.py --models tiny MINILM_FOLDER --texts WIKITEXT_FILE --page docs/results/defaults.md

Each run is `python -m agents.train` with an algorithm, an environment, a model, data, a budget of seconds, and no other
setting. Seconds are CPU time, so that other processes do not shorten a run. The data is builtin. Masked words may use a
file of texts from another domain, because `tiny` was pretrained on the builtin ones. Runs are kept in `--out`: finished
runs are not repeated, and stopped ones are resumed. The page of all finished runs is printed, and written to `--page`.
An existing page keeps its rows for runs that `--out` does not have: `--only 'NER-v0-*-sa'` measures two of them again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.compare.runs import Job, Runs
from lm_gym.agents.files import write_text
from lm_gym.agents.runs.clock import Clock
from lm_gym.agents.runs.curve import read_metrics
from lm_gym.envs import find_task
from lm_gym.tasks.metric import metric_of

METRICS = {"lm_gym/NER-v0": "entity_f1", "lm_gym/MaskedLM-v0": "perplexity"}
PAGE = """# Every pairing with its default settings

`python benchmarks/defaults.py {command}`

`python -m agents.train --algo … --env.id … --policy.model … --env.dataset …` with {seconds:g} seconds of training on
one thread and no other setting, one seed. Seconds are CPU time; those marked "wall" are time on the clock, from an
earlier version of this page. The tags are builtin, and the masked words are of {texts}. Start and end are the
validation split before training and at the end of the budget; best is the evaluation that chose the model; random
choices and the rule (the majority tag of each word, the most frequent token) are of the test split.

{tables}

{missing}"""


def jobs(
    out: Path, models: Sequence[str], algorithms: Sequence[str], texts: str, seconds: float
) -> list[tuple[str, str, Job]]:
    """Environment, model and run of every pairing."""
    data = {"lm_gym/NER-v0": "builtin", "lm_gym/MaskedLM-v0": texts}
    found = []
    for env, model, algo in product(METRICS, models, algorithms):
        name = f"{env.rpartition('/')[2]}-{Path(model).name}-{algo}"
        options = {
            "algo": algo,
            "env.id": env,
            "env.dataset": data[env],
            "policy.model": model,
            "budget.seconds": seconds,
            "evaluation.times": 4,
            "evaluation.metric": METRICS[env],
            "threads": 1,
        }
        given = tuple(f"--{key}={value}" for key, value in options.items())
        found.append((env, model, Job(algo, 0, out / name, given)))
    return found


def launch(job: Job, errors: Path) -> subprocess.Popen[bytes]:
    """Start or resume a run in a process that counts its CPU time."""
    command = [sys.executable, __file__, "--train", *job.command()[3:]]
    with errors.open("wb") as file:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=env, start_new_session=True)


def train(options: Sequence[str]) -> None:
    """Train with a budget in CPU time."""
    from lm_gym.agents.train import main as train_until_done

    Clock.now = staticmethod(time.process_time)
    train_until_done(options)


def written(page: Path) -> dict[str, dict[str, str]]:
    """The lines of a page's tables, by heading and first cell."""
    found: dict[str, dict[str, str]] = {}
    for line in page.read_text(encoding="utf-8").splitlines() if page.is_file() else []:
        if line.startswith("## "):
            rows = found.setdefault(line, {})
        elif named := re.match(r"\| `(\w+)` \| .*\d", line):
            rows[named[1]] = line
    return found


def heading(env: str, model: str) -> str:
    """The heading of the table of an environment and a model."""
    return f"## {env}, `{Path(model).name}`: {metric_of(METRICS[env]).label}"


def table(env: str, model: str, done: Sequence[Job], kept: Mapping[str, str]) -> str:
    """The finished runs of one environment and one model, and the lines of others."""
    metric = metric_of(METRICS[env])
    names = [row.name for row in find_task(env).baselines]
    head = ["`algo`", "start", "end", "best", "better", *names, "seconds"]
    lines = dict(kept)
    for job in done:
        report: dict[str, Any] = json.loads((job.folder / "report.json").read_text(encoding="utf-8"))
        curve = [
            row[f"eval/{metric.name}"]
            for row in read_metrics(job.folder / "metrics.jsonl")
            if f"eval/{metric.name}" in row
        ]
        best = report["chosen"][metric.name]
        lines[job.row] = _line([
            f"`{job.row}`", *(_number(value) for value in (curve[0], curve[-1], best)),
            "yes" if metric.better(curve[-1], curve[0]) else "**no**",
            *(_number(report["baselines"][name].get(metric.name)) for name in names),
            f"{report['seconds']:.0f}",
        ])  # fmt: skip
    ordered = [lines[name] for name in ALGORITHMS if name in lines]
    return "\n".join([heading(env, model), "", _line(head), _line(["---", *["---:"] * (len(head) - 1)]), *ordered])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 10 else f"{value:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny"])
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--only", default="*", help="a pattern: only these runs, named environment-model-algorithm")
    parser.add_argument("--texts", default="builtin", help="a file or folder for masked words")
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    runs = jobs(arguments.out, arguments.models, arguments.algorithms, arguments.texts, arguments.seconds)

    wanted = [job for *_, job in runs if fnmatch(job.folder.name, arguments.only)]

    def ended(job: Job, failure: str | None) -> None:
        print(f"{job.folder.name}: {failure or 'finished'}", flush=True)

    Runs(arguments.out, arguments.jobs, lambda _: None, ended, lambda: None, launch).run(wanted)
    tables, left = [], []
    earlier = written(arguments.page) if arguments.page else {}
    for env, model in product(METRICS, arguments.models):
        kept = earlier.get(heading(env, model), {})
        done = [job for of, begun, job in runs if (of, begun) == (env, model) and job.finished]
        tables += [table(env, model, done, kept)] if done or kept else []
        left += [
            job.folder.name
            for of, begun, job in runs
            if (of, begun) == (env, model) and not job.finished and job.row not in kept
        ]
    models = " ".join(Path(model).name for model in arguments.models)
    texts = Path(arguments.texts).stem
    page = PAGE.format(
        command=f"--models {models} --texts {texts} --seconds {arguments.seconds:g}",
        texts=texts,
        seconds=arguments.seconds,
        tables="\n\n".join(tables),
        missing=f"Not finished: {', '.join(left)}.\n" if left else "",
    ).rstrip() + "\n"  # fmt: skip
    print(page)
    if arguments.page is not None:
        write_text(arguments.page, page)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2:])
    else:
        main()
