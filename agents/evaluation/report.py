"""Results of a run: report.json, report.md and the closing table.

Results are compared with the task's baselines, such as random choices, and with the untrained policy, on the test split
if there is one. The model is the best one on the validation split.
"""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lm_gym.envs import find_task
from lm_gym.tasks import Evaluation
from lm_gym.tasks.metric import columns

Metrics = Mapping[str, float]


def table_rows(report: Mapping[str, Any]) -> dict[str, Metrics]:
    """Return the rows of the closing table, all on one split: this run, then the baselines."""
    names = {row.name: row.label for row in find_task(report["env"]).baselines} | {"untrained": "untrained policy"}
    rows: dict[str, Metrics] = {"this run": report["metrics"][split_of(report)]}
    return rows | {names.get(name, name): metrics for name, metrics in report["baselines"].items()}


def split_of(report: Mapping[str, Any]) -> str:
    """Return the split of the closing table: test if there is one, else validation."""
    return "test" if "test" in report["metrics"] else "validation"


def closing_table(report: Mapping[str, Any]) -> Table:
    """Return the table printed at the end of a run."""
    rows = table_rows(report)
    shown = [metric for metric in columns(rows) if metric.in_terminal]
    title = f"{report['algo']} on {report['dataset']}, {split_of(report)}"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, collapse_padding=True)
    cells = {name: [_number(metrics.get(metric.name)) for metric in shown] for name, metrics in rows.items()}
    table.add_column("")
    for i, metric in enumerate(shown):  # in a narrow terminal, names are broken and numbers are not
        table.add_column(metric.label, justify="right", min_width=max(len(line[i]) for line in cells.values()))
    for name, line in cells.items():
        table.add_row(name, *line, style="bold" if name == "this run" else None)
    return table


def metric_table(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of the closing table in Markdown, with all metrics."""
    rows = table_rows(report)
    shown = columns(rows)
    return [
        f"| {split_of(report)} | " + " | ".join(metric.label for metric in shown) + " |",
        "|---|" + "---:|" * len(shown),
        *(f"| {n} | " + " | ".join(_number(m.get(metric.name)) for metric in shown) + " |" for n, m in rows.items()),
    ]


def markdown(report: Mapping[str, Any], evaluation: Evaluation, best: str, notes: list[str], command: str) -> str:
    """Return report.md: the same table, the task's reports, costs and notes on the data.

    Args:
        report: the content of report.json.
        evaluation: evaluation of the best model on the split of the table.
        best: a sentence that says how the best model was chosen.
        notes: sentences about the data.
        command: the command line.
    """
    lines = [
        f"# {report['algo']} on {report['dataset']}",
        "",
        f"`{command}`",
        "",
        f"Environment {report['env']}, model {report['model']}, seed {report['seed']}. {best}",
        "",
        *metric_table(report),
        "",
        f"{report['timesteps']:,} timesteps, {report['forward_passes']:,} forward and "
        f"{report['backward_passes']:,} backward passes, {report['tokens']:,} tokens, "
        f"{report['seconds']:.1f} s of training, peak memory {report['peak_memory_bytes'] / 2**20:,.0f} MiB. "
        f"Data fingerprint {report['fingerprint']}.",
        "",
    ]
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    for part in reports(evaluation):
        lines += ["```", part, "```", ""]
    return "\n".join(lines)


def reports(evaluation: Evaluation) -> list[str]:
    """Return the task's reports as text, each with a title; without reports, its metrics."""
    if evaluation.reports:
        return [str(report) for report in evaluation.reports.values()]
    width = max(map(len, evaluation.metrics))
    lines = (f"{name:{width}}  {value:.4f}" for name, value in evaluation.metrics.items())
    return [f"{evaluation.task.nouns.positions.capitalize()}\n" + "\n".join(lines)]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
