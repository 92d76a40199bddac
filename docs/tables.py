"""The tables in the pages of the algorithms: arguments from signatures and docstrings, logs from runs."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import ArgumentParser

from docs.metrics import METRICS, OF_EVALUATIONS, logged, logged_by_evaluation, meaning
from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.defaults import TABLE, WIDTH, default_of
from lm_gym.agents.algorithms.presets import PRESETS
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.model.start import Start
from lm_gym.agents.runs.command_line import build_parser
from lm_gym.agents.runs.defaults import defaults_of
from lm_gym.agents.search.optimizers import OPTIMIZERS

MARKED = re.compile(r"(<!-- docs/generate\.py: (\w+) (\w+) -->\n).*?(\n<!-- end -->)", re.S)


def filled(page: str) -> str:
    """Return a page with all of its marked tables regenerated."""
    return MARKED.sub(lambda m: f"{m[1]}\n{TABLES[m[2]](m[3])}\n{m[4]}", page)


def arguments(name: str) -> str:
    """Return the table of `--agent.*` of an algorithm (`black_box`: of all gradient-free ones)."""
    algo = "es" if name == "black_box" else name
    kind = ALGORITHMS[algo]
    rows = []
    for key, _, said in _options(build_parser(algo), "agent."):
        default = _default(kind, key)
        command = defaults_of(kind).get(f"agent.{key}", default)
        if algo != name and key == "learning_rate":  # Stable-Baselines3's argument, unused here
            continue
        rows.append([f"`{key}`", f"{default}" + (f"; `train`: {command}" * (command != default)), said])
    return _table(["argument", "default", "meaning"], rows)


def optimizer(name: str) -> str:
    """Return the table of `optimizer_kwargs`: the optimizer's defaults, and those of the algorithm of that name."""
    preset = PRESETS[name].preset if name in PRESETS else None
    kind: Any = OPTIMIZERS[preset.optimizer if preset else name]
    parser = ArgumentParser(add_help=False)
    parser.add_class_arguments(kind, "o", skip={"initial", "domain", "centre", "blocks", "seed"}, instantiate=False)
    given = {} if preset is None else usual(PRESETS[name])
    rows = []
    for key, default, said in _options(parser, "o."):
        instead = f"; `--algo {name}`: {given[key]}" if given.get(key, default) != default else ""
        rows.append([f"`{key}`", f"{default}" + instead, said])
    return _table(["`optimizer_kwargs`", "default", "meaning"], rows)


def presets(_: str) -> str:
    """Return the table of the presets of BlackBox."""
    rows = [
        [f"[`{name}`]({name}.md)", f"`{kind.preset.optimizer}`", f"`{kind.preset.search_space}`"]
        for name, kind in PRESETS.items()
    ]
    return _table(["`algo`", "`optimizer`", "`search_space`"], rows)


def defaults(_: str) -> str:
    """Return the table of default settings."""
    rows = []
    for row in TABLE:
        searched = [f"`{row.space}`"] * (row.space is not None)
        searched += [f"{row.at_least:,} numbers and more"] * bool(row.at_least)
        settings = {**row.settings, **row.settings.get("optimizer_kwargs", {})}
        settings.pop("optimizer_kwargs", None)
        said = ", ".join(f"`{key}` {value}" for key, value in settings.items())
        rows.append([f"`{row.algorithm}`", row.head or "", " or ".join(row.weights or ()), ", ".join(searched), said])
    return _table(["class", "head", "weights", "search", "settings"], rows)


def usual(kind: type[BlackBox]) -> Mapping[str, Any]:
    """The optimizer's arguments of an algorithm for a fresh head of labels."""
    start, space = Start("labels", "fresh head", WIDTH), kind.preset.search_space
    found: Mapping[str, Any] = default_of(kind, start, space)["optimizer_kwargs"]
    return found


def logs(name: str) -> str:
    """Return the table of logged tags in the order of METRICS, without `eval/*` and `reward/*`."""
    return _metrics({tag for tag in logged(name) - OF_EVALUATIONS if not tag.startswith(("eval/", "reward/"))}, name)


def evaluation(name: str) -> str:
    """Return the table of the tags that evaluations log."""
    return _metrics(logged_by_evaluation(), name)


TABLES = {table.__name__: table for table in (arguments, optimizer, presets, defaults, logs, evaluation)}


def _metrics(tags: set[str], name: str) -> str:
    unknown = sorted(tags - METRICS.keys())
    if unknown:
        raise KeyError(f"{', '.join(unknown)}: explain it in docs/metrics.py")
    return _table(["tag", "meaning"], [[f"`{tag}`", meaning(tag, name)] for tag in METRICS if tag in tags])


def _options(parser: ArgumentParser, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Yield name, default and meaning of each option in a section of a parser."""
    for action in parser._actions:
        if action.dest.startswith(prefix):
            yield action.dest.removeprefix(prefix), action.default, " ".join((action.help or "").split())


def _default(kind: type, key: str) -> Any:
    """Return a constructor's default, or that of the base class that receives the argument."""
    found = (inspect.signature(k.__init__).parameters.get(key) for k in kind.__mro__ if "__init__" in vars(k))
    return next(parameter.default for parameter in found if parameter is not None)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return text that is safe in a cell: choices in code, `a | b`, are split, and other bars escaped."""
    return re.sub(r" \| (?=[^`]*`)", "`, `", text).replace("|", "\\|")
