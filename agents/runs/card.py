"""The model card of a run's best model, `best/README.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from lm_gym.agents.evaluation.report import metric_table, split_of
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.usage import pipeline_of, usage
from lm_gym.envs import find_task
from lm_gym.tasks.metric import METRICS

CARD = "README.md"
_BODY = """\
{summary}

{chosen}

## Results

{table}

On the {split} split of {dataset} (fingerprint {fingerprint}). The other rows are baselines. The run made
{forward:,} forward and {backward:,} backward passes.
{notes}
## Use

With transformers, where `FOLDER` is this folder or its id on the hub:

{usage}
With lm-gym, where an id on the hub is written `hub:USER/NAME`:

```sh
lm-gym predict FOLDER --input texts.txt               # texts without gold
lm-gym evaluate FOLDER --env.dataset DATA             # on other data
lm-gym train --algo {algo} --env.id {env} --policy.model FOLDER
```
"""


def card(report: Mapping[str, Any], policy: LMPolicy, chosen: str, notes: list[str]) -> str:
    """Return the text of a model card, with the header that the Hugging Face hub reads.

    Args:
        report: the content of report.json.
        policy: the best model.
        chosen: a sentence about how the model was chosen.
        notes: notes on the data.
    """
    name = f"{report['algo']} on {report['dataset']}"
    split, task = split_of(report), find_task(report["env"])
    model, hub = _model_name(report["model"])
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline_of(policy),
        tags=["lm-gym", task.name, report["algo"]],
        base_model=model if hub else None,
        datasets=_hub_ids(report["dataset"]),
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=pipeline_of(policy),
                dataset_type=report["dataset"],
                dataset_name=report["dataset"],
                dataset_split=split,
                dataset_revision=report["fingerprint"],
                metric_type=metric,
                metric_name=METRICS[metric].label,
                metric_value=round(value, 4),
            )
            for metric, value in report["metrics"][split].items()
            if metric in METRICS
        ],
    )
    body = _BODY.format(
        summary=f"{model}, trained by {report['algo']} on {report['env']} of lm-gym, with seed {report['seed']}.",
        chosen=chosen,
        table="\n".join(metric_table(report)),
        split=split,
        dataset=report["dataset"],
        fingerprint=report["fingerprint"],
        forward=report["forward_passes"],
        backward=report["backward_passes"],
        notes="".join(f"\n- {note}" for note in notes) + "\n" * bool(notes),
        usage=task.usage or usage(policy),
        algo=report["algo"],
        env=report["env"],
    )
    return f"---\n{header}\n---\n\n# {name}\n\n{body}"


def _model_name(model: Any) -> tuple[str, bool]:
    """Return the name of the model that a run began with, without local folders, and whether it is a hub id."""
    if not isinstance(model, str):
        return "A model with new weights", False
    name = model.removeprefix("hub:")
    if Path(model).is_absolute() or model.startswith("."):
        return Path(model).name, False
    return name, model.startswith("hub:") or "/" in name


def _hub_ids(dataset: str) -> list[str] | None:
    found = re.fullmatch(r"hub:([^:]+)(:.*)?", dataset)
    return [found[1]] if found else None
