"""report.md and report.html of a study: tables, charts, and an explanation of the numbers."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lm_gym.agents.compare.charts import charts
from lm_gym.agents.compare.results import Results
from lm_gym.agents.compare.study import Study
from lm_gym.agents.compare.tables import Table, best_of_families, cost_table, goal, main_table, split_shown
from lm_gym.agents.compare.trials import JOURNAL, chosen_settings, trials_of
from lm_gym.agents.evaluation.theme import VIEWPORT, style
from lm_gym.agents.files import write_text
from lm_gym.tasks.metric import metric_of

CAPTIONS = {
    "scores": "Results of each row: interquartile mean, 95% bootstrap interval, one dot per seed.",
    "equivalents": "Learning curves over forward-pass equivalents, including those of the model that a row starts "
    "from.",
    "seconds": "Learning curves over seconds of training, on a machine that other processes used too.",
    "profile": "Performance profiles: the fraction of a row's runs that reach a threshold.",
    "improvement": "Probability that a run of a row is better than a run of the twin.",
}


@dataclass(frozen=True)
class Section:
    """A section of the report: a heading and notes, then a table, charts by name, or preformatted texts by title."""

    heading: str
    notes: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[str, ...] = ()
    texts: Mapping[str, str] | None = None


def write_report(results: Results, command: str) -> dict[str, Figure]:
    """Write charts/, report.md and report.html, and return the charts."""
    figures = charts(results)
    folder = results.out / "charts"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")
    sections = _sections(results, figures)
    write_text(results.out / "report.md", _markdown(results, sections, command))
    write_text(results.out / "report.html", _html(results, sections, command, figures))
    return figures


def publish(results: Results, folder: Path) -> Path:
    """Copy report.md and its charts to a folder of results, as `<study>.md` and `<study>/`."""
    name = results.study.path.stem
    (folder / name).mkdir(parents=True, exist_ok=True)
    for chart in sorted((results.out / "charts").glob("*.png")):
        shutil.copyfile(chart, folder / name / chart.name)
    text = (results.out / "report.md").read_text(encoding="utf-8")
    write_text(folder / f"{name}.md", text.replace("](charts/", f"]({name}/"))
    return folder / f"{name}.md"


def _sections(results: Results, figures: Mapping[str, Figure]) -> list[Section]:
    failures = {run.folder.name: run.failure or "" for run in results.failed}
    failed = [Section("Failed runs", texts=failures)] if failures else []
    if not results.finished:
        return [Section("No finished runs", table=main_table(results)), *failed]
    study = results.study
    sections = [
        Section(f"Results on {split_shown(results)}", _how(results), main_table(results), ("scores",)),
        Section("Learning curves", figures=("equivalents", "seconds")),
    ]
    bound = goal(results)
    if bound is not None:
        note = (
            f"Cost until {study.metric} on validation reaches {bound:.3f}, where the twin ({results.twin}) has "
            "made 90% of its gain. Medians over the runs that reach it. The cost of a row that starts from another "
            "row's model includes that run."
        )
        sections.append(Section("Cost", (note,), cost_table(results, bound)))
    shown = tuple(name for name in ("improvement", "profile") if name in figures)
    sections.append(Section("Certainty", figures=shown))
    texts = {
        f"{family}: {run.row}, seed {run.seed}": "\n\n".join(run.report["reports"])
        for family, run in best_of_families(results).items()
        if run.report is not None
    }
    sections.append(Section("The best run of each family", ("Chosen on validation.",), texts=texts))
    return [*sections, *_search(results), *failed]


def _amount(budget: str, amount: float) -> str:
    """Return a budget in words: "1 pass", "2,000 forward passes"."""
    return f"{amount:,} {'pass' if (budget, amount) == ('passes', 1) else budget.replace('_', ' ')}"


def _how(results: Results) -> tuple[str, ...]:
    """Explain the numbers of the main table."""
    study, first = results.study, results.first
    (budget, amount), *_ = study.budget.items()
    own = [
        f"{_amount(n, a)} for {row.name!r}"
        for row in study.rows.values()
        if row.budget != study.budget
        for n, a in row.budget.items()
    ]
    notes = [
        f"The budget of each row is {_amount(budget, amount)}" + (f", except {'; '.join(own)}." if own else "."),
        "A forward pass sends one text through the encoder; with a population, a text counts once per member. "
        "Equivalents count a forward pass as 1 and a backward pass as 2. Training stops at the first update that "
        "reaches the budget.",
        f"The model of each run is chosen by {_chosen_by(study)}; "
        f"the table shows its result on {split_shown(results)}"
        + (
            ". "
            if split_shown(results) == "test"
            else ", the split that also chooses the model, because there is no test split. "
        )
        + "First column: interquartile mean over seeds [95% bootstrap interval]; other metrics: interquartile mean; "
        "“at the end”: validation at the end of training; “chosen pass”: the pass of the chosen model, seed by seed. "
        "Baselines are of the same seeds. Seconds (without evaluation), tokens/s and peak memory are medians of "
        "single-threaded processes.",
    ]
    if first is not None:
        notes.append(
            f"Data: {first['dataset']}, fingerprint {first['fingerprint']}. Model: {Path(str(first['model'])).name}."
        )
    return tuple(notes)


def _chosen_by(study: Study) -> str:
    """Say how models are chosen, with the exceptions by row."""
    others: dict[str, list[str]] = {}
    for name, row in study.rows.items():
        metric = row.settings["evaluation.metric"]
        if row.settings.get("evaluation.keep") == "last":
            others.setdefault("is the last one", []).append(repr(name))
        elif metric != study.metric:
            others.setdefault(f"is chosen by {metric_of(metric).label}", []).append(repr(name))
    parts = [f"{metric_of(study.metric).label} on validation"]
    return "; ".join([*parts, *(f"that of {', '.join(names)} {how}" for how, names in others.items())])


def _search(results: Results) -> list[Section]:
    """Return the section on searched settings, if there was a search."""
    chosen = chosen_settings(results.out)
    if not chosen:
        return []
    trials = trials_of(results.out)
    table = Table(
        ["", "trials", "chosen"],
        [
            [row, str(trials[row]), json.dumps(settings) if settings else "unchanged"]
            for row, settings in chosen.items()
        ],
    )
    how = "TPE (Optuna)" if (results.out / JOURNAL).is_file() else "Random search"
    note = f"{how} on validation, with a seed that the study does not use; trials.csv lists every trial."
    return [Section("Searched settings", (note,), table)]


def _markdown(results: Results, sections: list[Section], command: str) -> str:
    lines = [f"# {results.study.title}", "", f"`{command}`", ""]
    for section in sections:
        lines += [f"## {section.heading}", ""]
        lines += [part for note in section.notes for part in (note, "")]
        if section.table is not None:
            lines += [section.table.markdown(), ""]
        lines += [part for name in section.figures for part in (f"![{CAPTIONS[name]}](charts/{name}.png)", "")]
        for title, text in (section.texts or {}).items():
            lines += [f"**{title}**", "", "```", text, "```", ""]
    return "\n".join(lines)


def _html(results: Results, sections: list[Section], command: str, figures: Mapping[str, Figure]) -> str:
    title = html.escape(results.study.title)
    body = [f"<h1>{_inline(results.study.title)}</h1>", f"<p><code>{html.escape(command)}</code></p>"]
    for section in sections:
        body.append(f"<h2>{html.escape(section.heading)}</h2>")
        body += [f'<p class="note">{_inline(note)}</p>' for note in section.notes]
        if section.table is not None:
            body.append(_html_table(section.table, results.twin))
        for name in section.figures:
            image = f'<img alt="{CAPTIONS[name]}" src="data:image/svg+xml;base64,{_svg(figures[name])}">'
            body.append(f"<figure>{image}<figcaption>{CAPTIONS[name]}</figcaption></figure>")
        for name, text in (section.texts or {}).items():
            shown = f"<summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre>"
            body.append(f"<details open>{shown}</details>")
    sheet = style("lm_gym.agents.compare", "report.css")
    head = f'<meta charset="utf-8">{VIEWPORT}<title>{title}</title>\n<style>{sheet}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n' + "\n".join(
        [*body, "</main></body></html>\n"]
    )


def _html_table(table: Table, twin: str | None) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    lines = []
    for row in table.rows:
        kind = ' class="pale"' if row[0] in table.pale else ' class="twin"' if row[0] == twin else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return f'<div class="table"><table><tr>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _inline(text: str) -> str:
    """Convert text with Markdown's backticks to HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _svg(figure: Figure) -> str:
    """Return the figure as SVG in base64, without background: a separate image, so that ids do not clash."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return base64.b64encode(file.getvalue()).decode()
