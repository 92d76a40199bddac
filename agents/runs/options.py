"""The options of `train`: general options and sections, their short help, and settings before they are parsed.

This module imports neither torch nor a model library, so that `--help` and the first line of a run appear at once.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.settings import (
    BudgetSettings,
    CheckpointSettings,
    EnvSettings,
    EvaluationSettings,
    RaySettings,
    SettingsError,
    leaves,
)
from lm_gym.agents.runs.shipped import find_config
from lm_gym.data import load_dataset
from lm_gym.naming import among, nearest

DEFAULT_ALGO = "reinforce"
NOT_DATA = ("source", "fields", "builtin")  # arguments of load_dataset that are not settings
_HELP = ("-h", "--help")
SYNONYMS = {  # names of settings in other libraries
    **dict.fromkeys(("batch_size", "n_envs", "per_device_train_batch_size"), "env.num_envs"),
    **dict.fromkeys(("epochs", "num_epochs", "num_train_epochs"), "budget.passes"),
    **dict.fromkeys(("total_timesteps", "max_steps"), "budget.timesteps"),
    "output_dir": "run_dir",
}

_KINDS = {  # in messages
    **{"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"},
    **dict.fromkeys(("Mapping", "dict"), "{key: value}"),
    **dict.fromkeys(("Sequence", "list", "tuple"), "[value, …]"),
}


@dataclass(frozen=True)
class Option:
    """A general option.

    Attributes:
        type: its type.
        default: its default.
        help: what it sets.
    """

    type: Any
    default: Any
    help: str


GENERAL = {
    "algo": Option(str, DEFAULT_ALGO, "the algorithm, or module:name for your own class"),
    "seed": Option(int, 0, "seed of all random numbers"),
    "device": Option(str, "auto", "auto, cpu, cuda, …"),
    "threads": Option(int | None, None, "number of torch threads; null lets torch choose"),
    "log_interval": Option(int, 10, "number of updates between two logs"),
    "logger": Option(str, "tensorboard", "outputs besides metrics.jsonl: none, or tensorboard,wandb,trackio,mlflow"),
    "run_dir": Option(str | None, None, "the run folder, by default runs/<env>/<algo>/<time-name>"),
    "resume": Option(str | None, None, "the folder of a run to continue"),
}
CONFIG_HELP = "a YAML file, or the name of a shipped config; later ones override earlier ones"
SECTIONS = {
    "env": "the environment, and the options of its task",
    "data": "the reader of the data",
    "policy": "the model: arguments of LMPolicy",
    "agent": "arguments of the algorithm that --algo names",
    "budget": "how long to train; give one",
    "evaluation": "evaluation on the validation split",
    "checkpoint": "checkpoints, from which a stopped run resumes",
    "ray": "workers on a Ray cluster, which evaluate populations",
}
_NAMES = {  # of the sections whose options are known without a model library
    "env": [one.name for one in fields(EnvSettings)],
    "data": [name for name in inspect.signature(load_dataset).parameters if name not in NOT_DATA],
    "budget": [one.name for one in fields(BudgetSettings)],
    "evaluation": [one.name for one in fields(EvaluationSettings)],
    "checkpoint": [one.name for one in fields(CheckpointSettings)],
    "ray": [one.name for one in fields(RaySettings)],
}


def help_wanted(arguments: Sequence[str]) -> str | None:
    """Return the requested help: "" for the short one, "all", "algo" or the name of a section; None if there is none.

    Raises:
        SettingsError: there is no such help.
    """
    for place, argument in enumerate(arguments):
        option, _, topic = argument.partition("=")
        if option in _HELP:
            following = arguments[place + 1 : place + 2]
            topic = topic or next((one for one in following if not one.startswith("-")), "")
            if topic and topic not in (topics := ["all", "algo", *SECTIONS]):
                raise SettingsError(f"no help on {topic!r}{among(topic, topics)}")
            return topic
    return None


def short_help() -> str:
    """Return help that fits a screen: the general options, and the sections with the names of their options."""
    name = program("train")
    lines = [
        f"usage: {name} [--config FILE] [--algo NAME] [--SECTION.KEY VALUE] …",
        "",
        "Train a language model on an lm_gym environment; by default, REINFORCE on builtin entities.",
        "",
        f"  {'--config':16}{CONFIG_HELP}",
        *(f"  {'--' + key:16}{option.help}" for key, option in GENERAL.items()),
        f"  {'--print_config':16}print all settings with their defaults, and stop",
        "",
    ]
    for section, what in SECTIONS.items():
        lines.append(f"  {f'--{section}.*':16}{what}")
    return "\n".join([*lines, "", f"{name} --help SECTION | algo | all lists options with their defaults."])


def starting(arguments: Sequence[str]) -> str:
    """Return the first line of a command: what it starts, before anything is loaded.

    Raises:
        SettingsError: a config file does not exist, or is not YAML.
    """
    found = {"algo": DEFAULT_ALGO, "env.id": EnvSettings.id}
    found |= {key: value for _, key, value in given(with_shipped(arguments)) if value is not None}
    if "resume" in found:
        return f"resuming {found['resume']}: loading …"
    return f"starting {found['algo']} on {found['env.id']}: loading …"


def with_shipped(arguments: Sequence[str]) -> list[str]:
    """Replace names of shipped configs by the paths of their files."""
    found = list(arguments)
    for position, argument in enumerate(found):
        if argument.startswith("--config="):
            found[position] = f"--config={find_config(argument.removeprefix('--config='))}"
        elif argument == "--config" and position + 1 < len(found):
            found[position + 1] = str(find_config(found[position + 1]))
    return found


def given(arguments: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """Yield source, key and value of each setting on a command line and in its config files, in order."""
    position = 0
    while position < len(arguments):
        option, equals, value = arguments[position].partition("=")
        position += 1
        if not option.startswith("-") or re.fullmatch(r"-[\d.].*", option):
            continue
        key = option.lstrip("-")
        if not equals and position < len(arguments):
            value = arguments[position]
        yield "the command line", key, value
        if key == "config":
            for inner, content in leaves(read_yaml(value)):
                yield value, inner, content


def read_yaml(name: str) -> dict[str, Any]:
    """Return the content of a settings file.

    Raises:
        SettingsError: the file does not exist, is not UTF-8, or does not hold keys with values.
    """
    try:
        text = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--config {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"--config {name} is not UTF-8: {error}") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {name} is not YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise SettingsError(f"--config {name} contains {type(content).__name__}, not keys with values")
    return dict(content)


def check_key(source: str, key: str, known: Sequence[str], algo: str) -> None:
    """Raise SettingsError if a key of `source` is not in `known`; the message suggests the nearest known key."""
    stem = ".".join(key.rstrip("+").split(".")[:2])
    sections = {name.partition(".")[0] for name in known}
    if stem in known or stem in sections:
        return
    close = nearest(SYNONYMS.get(stem, stem), known)
    if not close:  # the key may belong to another section
        last = stem.rpartition(".")[2]
        close = next((f" (did you mean {name!r}?)" for name in known if name.rpartition(".")[2] == last), "")
    section = stem.partition(".")[0]
    inside = [name for name in known if name.startswith(f"{section}.")]
    listed = f": {', '.join(inside)}" if inside else ""
    of = f" of algorithm {algo!r}" if section == "agent" else ""
    where = "" if source == "the command line" else f"{source}: "
    raise SettingsError(f"{where}no setting {stem!r}{of}{close}{listed}")


def in_one_line(message: str) -> str:
    """Return a parser's message in one line; about an invalid value, it says what is valid and suggests the nearest."""
    key = re.search(r'Parser key "([^"]+)"', message)
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    expected = re.search(r"Subtypes: \[(.*)\]", message) or re.search(r"Expected an? (.*?)\. Got value", message)
    if not (key and value and expected):
        return " ".join(message.split())
    literals = re.findall(r"'([^']*)'", "".join(re.findall(r"Literal\[([^]]*)\]", expected[1])))
    types = re.findall(
        r"<class '(?:[\w.]+\.)?(\w+)'>|Annotated\[(\w+), ([^]]*)\]|\b(?!Literal|Annotated)(\w+)\[", expected[1]
    )
    kinds = [f"{_KINDS.get(name, name)} {bound}".strip() for a, b, bound, c in types if (name := a or b or c)]
    *others, last = dict.fromkeys([*literals, *kinds]) or [expected[1]]
    wanted = f"{', '.join(others)} or {last}" if others else last
    return f"{key[1]} is {value[1]!r}{nearest(value[1], literals)}: give {wanted}"
