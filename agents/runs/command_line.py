"""The command line of a run: YAML files and dotted options, of which later ones override earlier ones.

The parser is built by jsonargparse from the signatures of the classes that it configures, so a new argument of an
algorithm becomes an option automatically. Unknown keys are an error, which suggests the nearest known key.
"""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.model.devices import check_device
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.cluster import check_workers
from lm_gym.agents.runs.defaults import defaults_of
from lm_gym.agents.runs.legacy import is_obsolete, upgrade
from lm_gym.agents.runs.options import (
    CONFIG_HELP,
    DEFAULT_ALGO,
    GENERAL,
    NOT_DATA,
    SECTIONS,
    check_key,
    in_one_line,
    read_yaml,
    with_shipped,
)
from lm_gym.agents.runs.options import given as given_settings
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.settings import (
    BUDGETS,
    BudgetSettings,
    CheckpointSettings,
    EnvSettings,
    EvaluationSettings,
    RaySettings,
    Settings,
    SettingsError,
    as_yaml,
    env_settings,
    leaves,
)
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.bounds import check_arguments
from lm_gym.data import load_dataset
from lm_gym.envs import find_task

_OF_THE_RUN = ("run_dir", "resume")  # not written to config.yaml: a copy of a run has another folder
_POLICY_SKIP = {
    "observation_space",
    "action_space",
    "lr_schedule",
    "head",
    "labels",
    "label_words",
    "pointer",
    "facts",
    "tokenizer",
    "use_sde",
}
_AGENT_SKIP = {
    "policy",
    "env",
    "policy_kwargs",
    "tensorboard_log",
    "verbose",
    "seed",
    "device",
    "stats_window_size",
    "monitor_wrapper",
    "support_multi_env",
    "use_sde",
    "sde_sample_freq",
    "supported_action_spaces",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "_init_setup_model",
}


def build_parser(algo: str, env_id: str = EnvSettings.id) -> ArgumentParser:
    """Build the parser for the settings of one algorithm in one environment."""
    parser = ArgumentParser(
        prog=program("train"),
        description="Train a language model on an lm_gym environment. Without options, REINFORCE trains the shipped "
        "model on the builtin NER corpus. The options --agent.* are the arguments of the algorithm chosen with --algo.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help=CONFIG_HELP)
    for key, option in {**GENERAL, "algo": replace(GENERAL["algo"], default=algo)}.items():
        parser.add_argument(f"--{key}", type=option.type, default=option.default, help=option.help)
    parser.add_class_arguments(env_settings(find_task(env_id)), "env")
    parser.add_function_arguments(load_dataset, "data", skip=set(NOT_DATA))
    parser.add_class_arguments(LMPolicy, "policy", skip=_POLICY_SKIP, instantiate=False)
    parser.add_class_arguments(find_algorithm(algo), "agent", skip=_AGENT_SKIP, instantiate=False)
    parser.add_class_arguments(BudgetSettings, "budget")
    parser.add_class_arguments(EvaluationSettings, "evaluation")
    parser.add_class_arguments(CheckpointSettings, "checkpoint")
    parser.add_class_arguments(RaySettings, "ray")
    parser.set_defaults(defaults_of(find_algorithm(algo), find_task(env_id).head))
    return parser


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Parse the settings on a command line, given without the program's name.

    Raises:
        SettingsError: if a key or value is unknown (the message suggests the nearest one) or settings make no sense.
    """
    arguments = with_shipped(arguments)
    parser, algo = parser_for(arguments)
    given = [entry for entry in given_settings(arguments) if not is_obsolete(*entry[1:])]
    known = [*dict(leaves(parser.get_defaults().as_dict())), "config", "print_config", "help", "h"]
    for source, key, _ in given:
        check_key(source, key, known, algo)
    try:
        namespace = parser.parse_args([*_upgraded(arguments), *_one_budget(given)])
    except ArgumentError as error:
        raise SettingsError(in_one_line(str(error))) from error
    return _settings(parser, namespace)


def parser_for(arguments: Sequence[str]) -> tuple[ArgumentParser, str]:
    """Return the parser for the algorithm and the environment that arguments name, and the algorithm's name.

    Raises:
        SettingsError: one of them is unknown, or a config file cannot be read.
    """
    named = {key: str(value) for _, key, value in given_settings(with_shipped(arguments))}
    algo = named.get("algo", DEFAULT_ALGO)
    try:
        return build_parser(algo, named.get("env.id", EnvSettings.id)), algo
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _settings(parser: ArgumentParser, namespace: Namespace) -> Settings:
    values = namespace.as_dict()
    run_dir, resume = (values.pop(key) for key in _OF_THE_RUN)
    if run_dir is not None and resume is not None:
        raise SettingsError("--resume continues the run in its own folder: leave out --run_dir")
    values.pop("config", None)
    for section in SECTIONS:
        if not isinstance(values[section], dict):
            raise SettingsError(f"{section} is {values[section]!r}: give its settings by key, or leave it out")
    for section, key in (("env", "dataset"), ("env", "tokenizer"), ("policy", "model")):
        values[section][key] = _absolute(values[section][key])
    for option in fields(find_task(values["env"]["id"]).Options):
        if option.metadata.get("file"):
            values["env"][option.name] = _absolute(values["env"][option.name])
    kind, task = find_algorithm(values["algo"]), find_task(values["env"]["id"])
    if values["env"]["reward"] is None:
        values["env"]["reward"] = kind.reward_for(task)
    _check_bounds(values)
    if issubclass(kind, BlackBox):  # a user's modules are imported before anything is loaded
        for key, registry in (("optimizer", OPTIMIZERS), ("search_space", SEARCH_SPACES)):
            if values["agent"][key] is not None:
                registry.find(values["agent"][key])
    text = as_yaml(values)
    typed = {name: made(**values.pop(name)) for name, made in _dataclasses(values["env"]["id"]).items()}
    check_workers(typed["ray"], values["algo"], kind)
    return Settings(
        **values,
        **typed,
        run_dir=None if run_dir is None else Path(run_dir),
        resume=None if resume is None else Path(resume),
        yaml=text,
    )


def _dataclasses(env_id: str) -> dict[str, type[Any]]:
    """The sections that are dataclasses, by name."""
    return {
        "env": env_settings(find_task(env_id)),
        "budget": BudgetSettings,
        "evaluation": EvaluationSettings,
        "checkpoint": CheckpointSettings,
        "ray": RaySettings,
    }


def _check_bounds(values: Mapping[str, Any]) -> None:
    """Check every value against the bounds that its type declares.

    Raises:
        SettingsError: a value is out of bounds; the message names the setting.
    """
    sections: dict[str, Any] = {
        "data": load_dataset,
        "policy": LMPolicy,
        "agent": find_algorithm(values["algo"]),
        **_dataclasses(values["env"]["id"]),
    }
    try:
        check_device(values["device"])
        check_arguments(Settings, {key: value for key, value in values.items() if key not in sections})
        for name, kind in sections.items():
            check_arguments(kind, values[name], f"{name}.")
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _upgraded(arguments: Sequence[str]) -> list[str]:
    """Replace the names of config files of version 0.1 by their updated content."""
    found = list(arguments)
    for i, argument in enumerate(arguments):
        option, equals, name = argument.partition("=")
        place = i if equals else i + 1
        if option != "--config" or place == len(arguments):
            continue
        content = read_yaml(name if equals else arguments[place])
        upgraded = upgrade(content)
        if upgraded != content:
            found[place] = f"{option}{equals}" * bool(equals) + yaml.safe_dump(upgraded, sort_keys=False)
    return found


def _one_budget(given: Sequence[tuple[str, str, Any]]) -> list[str]:
    """Make options that unset the other budgets. The last source wins; two budgets in one source are an error."""
    keys = [f"budget.{name}" for name in BUDGETS]
    found = [(source, key) for source, key, value in given if key in keys and value not in (None, "null")]
    if not found:
        return []
    source, last = found[-1]
    together = sorted({key for of, key in found if of == source}, key=keys.index)
    if len(together) > 1:
        raise SettingsError(f"{source} sets {' and '.join(together)}: set only one of them")
    return [f"--{key}=null" for key in keys if key != last]


def _absolute(value: Any) -> Any:
    """Make the path of an existing file absolute, so that config.yaml works from any folder."""
    if isinstance(value, str) and value not in ("builtin", "tiny") and Path(value).exists():
        return str(Path(value).resolve())
    return value
