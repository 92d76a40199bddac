"""report.md and report.html of a study: its tables and its charts, and how the numbers were made."""

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

from lm_gym.agents.comparison.charts import charts
from lm_gym.agents.comparison.results import Results
from lm_gym.agents.comparison.search import chosen_settings, trials_of
from lm_gym.agents.comparison.study import Study
from lm_gym.agents.comparison.tables import Table, best_of_families, cost_table, goal, main_table, split_shown
from lm_gym.agents.files import write_text
from lm_gym.tasks.metric import metric_of

CAPTIONS = {
    "scores": "What each row reached: interquartile mean, 95% bootstrap interval, one dot a seed.",
    "equivalents": "Learning curves over forward-pass equivalents, those of the model that a row begins from included.",
    "seconds": "Learning curves over seconds of training, on the machine and in the company it had.",
    "profile": "Performance profiles: the part of a row's runs that reach a threshold.",
    "improvement": "How probable it is that a run of a row is better than one of the twin.",
}
CSS = """
:root { color-scheme: light }
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fafafa; margin: 0 }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .6rem }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .6rem }
code { font: .86em ui-monospace, monospace; background: #efefef; padding: .1em .35em; border-radius: 4px }
.table { overflow-x: auto; background: #fff; border: 1px solid #e4e4e4; border-radius: 8px }
table { border-collapse: collapse; font-size: .82rem; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .42rem .55rem; text-align: right; white-space: nowrap; border-top: 1px solid #eee }
th { color: #666; font-weight: 600; border-top: 0 }
th:first-child, td:first-child { text-align: left }
tr.pale td { color: #777 } tr.twin td { font-weight: 600 }
figure { margin: 1.4rem 0; background: #fff; border: 1px solid #e4e4e4; border-radius: 8px; padding: 1rem }
figure img { width: 100%; display: block } figcaption { color: #666; font-size: .86rem; margin-top: .5rem }
pre { background: #fff; border: 1px solid #e4e4e4; border-radius: 8px; padding: 1rem; overflow-x: auto;
  font: .8rem/1.45 ui-monospace, monospace }
details { margin: .5rem 0 } summary { cursor: pointer; font-weight: 600 } .note { color: #555; font-size: .92rem }
"""


@dataclass(frozen=True)
class Section:
    """A part of the report: a heading, sentences, then a table, charts by name, or preformatted texts by title."""

    heading: str
    notes: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[str, ...] = ()
    texts: Mapping[str, str] | None = None


def write_report(results: Results, command: str) -> dict[str, Figure]:
    """Write charts/, report.md and report.html; the charts come back."""
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
    """Copy report.md and its charts to where a project keeps its results: `<study>.md` and `<study>/`."""
    name = results.study.path.stem
    (folder / name).mkdir(parents=True, exist_ok=True)
    for chart in sorted((results.out / "charts").glob("*.png")):
        shutil.copyfile(chart, folder / name / chart.name)
    text = (results.out / "report.md").read_text(encoding="utf-8")
    write_text(folder / f"{name}.md", text.replace("](charts/", f"]({name}/"))
    return folder / f"{name}.md"


def _sections(results: Results, figures: Mapping[str, Figure]) -> list[Section]:
    failures = {run.folder.name: run.failure or "" for run in results.failed}
    failed = [Section("Runs that failed", texts=failures)] if failures else []
    if not results.finished:
        return [Section("No run is finished", table=main_table(results)), *failed]
    study = results.study
    sections = [
        Section(f"Results on {split_shown(results)}", _how(results), main_table(results), ("scores",)),
        Section("While training", figures=("equivalents", "seconds")),
    ]
    bound = goal(results)
    if bound is not None:
        note = (
            f"Until {study.metric} on validation reaches {bound:.3f}: 90% of the way from where the twin "
            f"({results.twin}) began to what it reached. Medians over the runs that do. A row that begins from another "
            "row's model pays for that run too."
        )
        sections.append(Section("What it costs", (note,), cost_table(results, bound)))
    shown = tuple(name for name in ("improvement", "profile") if name in figures)
    sections.append(Section("How sure that is", figures=shown))
    texts = {
        f"{family}: {run.row}, seed {run.seed}": "\n\n".join(run.report["reports"])
        for family, run in best_of_families(results).items()
        if run.report is not None
    }
    sections.append(Section("The best run of each family", ("Chosen by validation.",), texts=texts))
    return [*sections, *_search(results), *failed]


def _amount(budget: str, amount: float) -> str:
    """A budget in words, "1 pass", "2,000 forward passes"."""
    return f"{amount:,} {'pass' if (budget, amount) == ('passes', 1) else budget.replace('_', ' ')}"


def _how(results: Results) -> tuple[str, ...]:
    """How the numbers of the main table were made."""
    study, first = results.study, results.first
    (budget, amount), *_ = study.budget.items()
    own = [
        f"{row.name!r} {_amount(n, a)}"
        for row in study.rows.values()
        if row.budget != study.budget
        for n, a in row.budget.items()
    ]
    notes = [
        f"Every row may spend {_amount(budget, amount)}" + (f", but {'; '.join(own)}." if own else "."),
        "A forward pass is one text through the encoder; with a population a text counts once for each member. "
        "Equivalents: a forward pass counts 1, a backward pass 2. Training stops at the first update that reaches the "
        "budget.",
        f"The model of each run is chosen by {_chosen_by(study)}; "
        f"{split_shown(results)} is played once, by that model"
        + (
            ". "
            if split_shown(results) == "test"
            else ": there is no test split, and the split that chooses is shown. "
        )
        + "First column: interquartile mean over seeds [95% bootstrap interval]; other metrics: interquartile mean; "
        "“at the end”: validation when training ended, chosen or not; “chosen pass”: that of each run, seed by seed. "
        "The rows to beat are of the same seeds. Seconds (evaluation left out), tokens/s and peak "
        "memory are medians of single-threaded processes.",
    ]
    if first is not None:
        notes.append(
            f"Data: {first['dataset']}, fingerprint {first['fingerprint']}. Model: {Path(str(first['model'])).name}."
        )
    return tuple(notes)


def _chosen_by(study: Study) -> str:
    """How models are chosen, with the rows that choose theirs otherwise."""
    others: dict[str, list[str]] = {}
    for name, row in study.rows.items():
        metric = row.settings["evaluation.metric"]
        if row.settings.get("evaluation.keep") == "last":
            others.setdefault("is the last", []).append(repr(name))
        elif metric != study.metric:
            others.setdefault(f"is by {metric_of(metric).label}", []).append(repr(name))
    parts = [f"{metric_of(study.metric).label} on validation"]
    return "; ".join([*parts, *(f"that of {', '.join(names)} {how}" for how, names in others.items())])


def _search(results: Results) -> list[Section]:
    """What a search has tried and chosen."""
    chosen = chosen_settings(results.out)
    if not chosen:
        return []
    trials = trials_of(results.out)
    table = Table(
        ["", "trials", "chosen"],
        [
            [row, str(trials[row]), json.dumps(settings) if settings else "as it stands"]
            for row, settings in chosen.items()
        ],
    )
    note = "Random search on validation, with a seed that is none of the study's; every trial is in trials.csv."
    return [Section("Settings that were searched", (note,), table)]


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
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head>\n<body><main>\n' + "\n".join(
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
    """Text with Markdown's backticks as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _svg(figure: Figure) -> str:
    """The figure as SVG in base64: an image of its own, so that names inside it meet those of no other."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return base64.b64encode(file.getvalue()).decode()
