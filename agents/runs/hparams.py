"""The columns of TensorBoard's HParams page, which compares runs.

TensorBoard takes the columns for all runs from the first run that it finds. A run declares its own settings and the
metrics of its task, so no column is empty if a folder has one task. The column `changed` lists all other
settings that differ from the defaults.
"""

import re
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from lm_gym.agents.runs.settings import Settings
from lm_gym.envs import find_task
from lm_gym.registry import own_name
from lm_gym.tasks import Task

_TEXT, _NUMBER = api_pb2.DATA_TYPE_STRING, api_pb2.DATA_TYPE_FLOAT64
COLUMNS = {
    "algo": _TEXT,
    "changed": _TEXT,
    "env.dataset": _TEXT,
    "env.id": _TEXT,
    "seed": _NUMBER,
    "agent.advantage": _TEXT,
    "agent.learning_rate": _NUMBER,
    "agent.optimizer": _TEXT,
    "agent.samples": _TEXT,
    "agent.search_space": _TEXT,
    "env.num_envs": _NUMBER,
    "env.reward": _TEXT,
    "policy.model": _TEXT,
}
_NAMES = ("algo", "agent.optimizer", "agent.search_space")  # these may be in a user's module
_SHOWN = 5  # the columns that the page shows first
_LONGEST = 80  # characters of a run's name
_SECTIONS = ("agent.", "policy.", "env.", "budget.")  # settings that affect learning, most important first


def metric_tags(task: type[Task]) -> list[str]:
    """List the tags of the page's metrics for a task, those that choose models first."""
    names = [metric.name for metric in task.all_metrics()]
    first = list(dict.fromkeys([names[0], "cross_entropy", "perplexity"]))
    rest = [name for name in names if name not in first]
    return [*(f"eval/{name}" for name in first), "budget/forward_passes", *(f"eval/{name}" for name in rest)]


def run_name(settings: Settings, defaults: Settings) -> str:
    """Return what distinguishes a run from others of its algorithm: data, changed settings and seed, for its folder.

    Args:
        settings: of the run, before defaults that depend on the model were decided.
        defaults: of its algorithm.
    """
    dataset = Path(settings.env.dataset).stem if settings.env.dataset != defaults.env.dataset else ""
    changed = re.sub("=[^,]*/", "=", str(hparams(settings, defaults)["changed"]))  # only the last part of paths
    parts = [dataset, "" if changed == "nothing" else changed, f"seed={settings.seed}"]
    return re.sub(r"[^\w.=+]+", "-", "-".join(filter(None, parts)))[-_LONGEST:].strip("-")


def hparams(settings: Settings, defaults: Settings, asked: Settings | None = None) -> dict[str, str | float]:
    """Return the values of a run, by column; settings that the algorithm does not have are left out.

    Args:
        settings: of the run.
        defaults: of its algorithm.
        asked: the settings of the run before defaults that depend on the model were decided; None if they are equal.
    """
    values, given, usual = _named(settings), _named(asked or settings), defaults.flat()
    shown = list(COLUMNS)[:_SHOWN]
    changed = [
        f"{key.rpartition('.')[2]}={value}"
        for section in _SECTIONS
        for key, value in given.items()
        if key.startswith(section) and key not in shown and value is not None and value != usual.get(key)
    ]
    values["changed"] = ", ".join(changed) or "nothing"
    values["env.id"] = values["env.id"].removeprefix("lm_gym/")
    return {
        key: values[key] if kind == _NUMBER else str(values[key])
        for key, kind in COLUMNS.items()
        if values.get(key) not in (None, "auto")
    }


def _named(settings: Settings) -> dict[str, Any]:
    """Return settings by dotted key, without the modules of names."""
    values = settings.flat()
    return values | {key: own_name(values[key]) for key in _NAMES if values.get(key) is not None}


def hparams_summaries(settings: Settings, defaults: Settings, asked: Settings | None = None) -> list[Summary]:
    """Return the first summaries of a run's events: the columns and its values. For the arguments, see `hparams`."""
    values = hparams(settings, defaults, asked)
    infos = [
        api_pb2.HParamInfo(name=name, type=kind, differs=place < _SHOWN)  # TensorBoard lists these first
        for place, (name, kind) in enumerate(COLUMNS.items())
        if name in values
    ]
    tags = metric_tags(find_task(settings.env.id))
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in tags]
    start = plugin_data_pb2.SessionStartInfo()
    for name, value in values.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return [
        _summary(metadata.EXPERIMENT_TAG, experiment=experiment),
        _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def _summary(tag: str, **content: Any) -> Summary:
    data = plugin_data_pb2.HParamsPluginData(**content)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data))])
