"""The tables of docs/results: runs every row of a study over several seeds through `python -m agents.train`.

    python benchmarks/results.py ner_builtin
    python benchmarks/results.py conll --dataset CONLL_FOLDER --model MINILM_FOLDER
    python benchmarks/results.py masked_lm
    python benchmarks/results.py wikitext --dataset WIKITEXT_FOLDER --model MINILM_FOLDER

Run folders go to runs/results/<study>/<row>-<seed>; a finished one is not run again, an unfinished one goes on. The
table is docs/results/<study>.md. A row may begin from another row's best model (seed 0). With `--rows ppo` only
the rows whose names begin so are run, and the others stay as the table has them.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from black_box_studies import BLACK_BOX
from studies import STUDIES, Row, Study

ALL = STUDIES | BLACK_BOX

ROOT = Path(__file__).parents[1]
STUDENT_T_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95% quantile for n values, n − 1 degrees of freedom


def slug(name: str) -> str:
    """A folder name for a row."""
    return "".join(c if c.isalnum() else "_" for c in name).strip("_")


def run(study: str, row: Row, seed: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Trains one row with one seed, or reads its report."""
    base = ROOT / "runs" / "results" / study
    folder = base / f"{slug(row.name)}-{seed}"
    if not (folder / "report.json").is_file():
        command = [sys.executable, "-m", "agents.train"]
        if (folder / "config.yaml").is_file():
            command += ["--resume", str(folder)]
        else:
            command += [*shlex.split(row.options), "--seed", str(seed), "--run_dir", str(folder), "--threads", "1"]
            command += ["--env.dataset", arguments.dataset] if arguments.dataset else []
            if row.start is not None:
                command += ["--policy.model", str(base / f"{slug(row.start)}-0" / "best")]
            elif arguments.model:
                command += ["--policy.model", arguments.model]
        print(shlex.join(command[1:]), flush=True)
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report: dict[str, object] = json.loads((folder / "report.json").read_text())
    evaluations = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    report["last"] = [line for line in evaluations if "eval/mean_reward" in line][-1]
    return report


def interval(values: list[float]) -> str:
    """Mean ± half of the 95% confidence interval (Student's t)."""
    if len(values) < 2:
        return f"{values[0]:.3f} (one seed)"
    half = STUDENT_T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    shown = f"{statistics.mean(values):.3f} ± {half:.3f}"
    return shown if len(values) > 2 else f"{shown} (two seeds)"


def standing(path: Path) -> dict[str, str]:
    """The rows of a table that stands, by name."""
    text = path.read_text() if path.exists() else ""
    return {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}


def table(study: Study, reports: dict[str, list[dict]], command: str, seeds: int, kept: dict[str, str]) -> str:
    """The Markdown table of a study; rows that were not run are those of `kept`."""
    lines = [
        f"# {study.title}",
        "",
        f"`{command}`: {study.split} split, the model of each run chosen by validation, mean ± 95% interval over "
        f"{seeds} seeds. Forward passes count texts encoded in training; seconds are wall time on a busy machine "
        "(for costs see costs.md).",
        f"The column after them is validation {study.metrics[0].replace('_', ' ')} when training ended, chosen or not.",
        "There is no test split: the split that chooses is the one that is shown." if study.split != "test" else "",
        "",
        "| | "
        + " | ".join(metric.replace("_", " ") for metric in study.metrics)
        + (f" | {study.before} before" if study.before else "")
        + " | at the end | forward passes | seconds |",
        "|---|" + "---:|" * (len(study.metrics) + 3 + bool(study.before)),
    ]
    first = next(iter(reports.values()))[0]
    for name in ("random", "majority") if study.before else ("random", "majority", "untrained"):
        found = first["baselines"][name]
        cells = [f"{found[metric]:.3f}" if metric in found else "" for metric in study.metrics]
        lines.append(f"| {name} | " + " | ".join(cells) + " |" * (4 + bool(study.before)))
    for name in (row.name for row in study.rows):
        if name not in reports:
            lines += [kept[name]] if name in kept else []
            continue
        runs = reports[name]
        cells = [interval([report["metrics"][study.split][metric] for report in runs]) for metric in study.metrics]
        if study.before:
            cells.append(interval([report["baselines"]["untrained"][study.before] for report in runs]))
        seconds = statistics.mean(report["seconds"] for report in runs)
        cells.append(interval([report["last"][f"eval/{study.metrics[0]}"] for report in runs]))
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {runs[0]['forward_passes']:,} | {seconds:,.0f} |")
    lines += ["", f"Data: {first['dataset']}, fingerprint {first['fingerprint']}. Model: {Path(first['model']).name}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=ALL)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", default="", help="only rows whose names begin so")
    parser.add_argument("--dataset")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    study = ALL[arguments.study]
    reports: dict[str, list[dict]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for starts in (True, False):  # rows that others begin from come first
            wanted = [row for row in study.rows if row.name.startswith(arguments.rows)]
            needed = {*wanted, *(row for row in study.rows if row.name in {other.start for other in wanted})}
            rows = [row for row in study.rows if row in needed and (row.start is None) == starts]
            waiting = {
                row.name: [
                    pool.submit(run, arguments.study, row, seed, arguments)
                    for seed in range(min(row.seeds, arguments.seeds))
                ]
                for row in rows
            }
            reports |= {name: [future.result() for future in futures] for name, futures in waiting.items()}
    command = f"python benchmarks/results.py {arguments.study}"
    if arguments.dataset:
        command += " --dataset … --model …"
    target = ROOT / "docs" / "results" / f"{arguments.study}.md"
    text = table(study, reports, command, arguments.seeds, standing(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
