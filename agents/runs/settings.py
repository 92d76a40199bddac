"""Typed settings of a run, and their defaults.

`agent.*` are the constructor arguments of the chosen algorithm, `policy.*` those of LMPolicy, and `data.*` the
arguments of `load_dataset`; they keep their own defaults, except that the learning rate warms up and then decays to 0.
`env.*` and the other sections are the dataclasses below. Without any options, a run trains the shipped model with
REINFORCE on the builtin named entities.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, bounded
from lm_gym.envs.manual import described
from lm_gym.tasks import Task

BUDGETS = ("passes", "timesteps", "forward_passes", "equivalents", "seconds")
ENDLESS = 2**62  # timesteps of a run that ends by the clock


class SettingsError(ValueError):
    """Invalid settings; the message names the key, the value and a remedy."""


@bounded
@dataclass(frozen=True)
class EnvSettings:
    """The environment. `env_settings` adds the options of a task.

    Args:
        id: a Gymnasium id of lm_gym, or "my_module:MyTask-v0" for your own task.
        num_envs: number of texts per update.
        group_size: number of rows that play the same text; null for the algorithm's default (PPO compares the rows).
        dataset: "builtin", a file, a folder with one file per split, or "hub:<id>".
        tokenizer: name or folder of a model, or a tokenizer.json; by default the policy's model.
        max_length: maximum number of sub-tokens of a text, including special tokens.
        reward: name of the reward, or a weighted sum {name: weight}; null for the default of the algorithm or the task.
        reward_kwargs: arguments of the reward, such as `weights: balanced`.
        dense: pay at each position; false pays the sum at the last position.
        sampling: order of the training texts; "bucketed" shuffles texts of similar length together.
    """

    id: str = "lm_gym/NER-v0"
    num_envs: PositiveInt = 32
    group_size: PositiveInt | None = None
    dataset: str = "builtin"
    tokenizer: str | None = None
    max_length: PositiveInt = 128
    reward: str | dict[str, float] | None = None
    reward_kwargs: dict[str, Any] | None = None
    dense: bool = True
    sampling: Literal["shuffled", "bucketed", "sequential"] = "bucketed"


@cache
def env_settings(task: type[Task]) -> type[EnvSettings]:
    """Return `EnvSettings` extended by the options of a task."""
    hints = get_type_hints(task.Options, include_extras=True)
    own = [
        (o.name, hints[o.name], field(default=o.default, default_factory=o.default_factory))
        for o in fields(task.Options)
    ]
    nouns = task.nouns._asdict()
    said = "".join(f"        {name}: {text.format(**nouns)}\n" for name, text in described(task.Options).items())
    doc = (EnvSettings.__doc__ or "").rstrip() + f"\n{said}    "
    kind = make_dataclass("EnvSettings", own, bases=(EnvSettings,), frozen=True, namespace={"__doc__": doc})
    return bounded(kind)


@bounded
@dataclass(frozen=True)
class BudgetSettings:
    """How long to train. Exactly one of these is set, and `patience` if training may end earlier.

    Args:
        passes: passes over the training texts.
        timesteps: positions decided; with K samples or P members, each position counts K or P times.
        forward_passes: texts sent through the model; with P members, each text counts P times.
        equivalents: forward-pass equivalents: a forward pass counts 1, a backward pass 2.
        seconds: seconds of training, without evaluations and checkpoints; includes the time before a resume.
        patience: stop early after this number of evaluations in a row without a better validation metric; null to
            spend the whole budget.
    """

    passes: PositiveFloat | None = 5.0
    timesteps: PositiveInt | None = None
    forward_passes: PositiveInt | None = None
    equivalents: PositiveInt | None = None
    seconds: PositiveFloat | None = None
    patience: PositiveInt | None = None

    def __post_init__(self) -> None:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise SettingsError(f"give exactly one of {', '.join(f'budget.{name}' for name in BUDGETS)}")

    @property
    def unit(self) -> str:
        """Name of the budget that is given."""
        return next(name for name in BUDGETS if getattr(self, name) is not None)

    def __str__(self) -> str:
        return f"{getattr(self, self.unit):,} {self.unit.replace('_', ' ')}"

    def total(self, timesteps_per_pass: int, forward_passes_per_pass: int, backward_passes_per_pass: int) -> int:
        """Return the budget in timesteps, or ENDLESS if the clock decides."""
        if self.timesteps is not None:
            return self.timesteps
        if self.seconds is not None:
            return ENDLESS
        if self.forward_passes is not None:
            passes = self.forward_passes / forward_passes_per_pass
        elif self.equivalents is not None:
            passes = self.equivalents / equivalents(forward_passes_per_pass, backward_passes_per_pass)
        else:
            assert self.passes is not None
            passes = self.passes
        return max(1, round(passes * timesteps_per_pass))


def equivalents(forward_passes: int, backward_passes: int) -> int:
    """Return forward-pass equivalents. A backward pass costs about two forward passes and counts as two."""
    return forward_passes + 2 * backward_passes


@bounded
@dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation on the validation split.

    Args:
        every_passes: passes over the training texts between two evaluations.
        times: number of evaluations, spaced evenly over the budget; null to use every_passes.
        texts: number of texts per evaluation during training, evenly spaced (by default all); the final evaluation
            uses all texts.
        metric: metric that chooses the best model; null for the task's first metric.
        keep: model to keep and report: the "best" by the metric, or the "last", for training that optimises something
            that the metric does not measure, such as the price of attention heads.
        num_envs: number of texts per batch.
        shown: number of texts shown with their predictions in TensorBoard.
    """

    every_passes: PositiveFloat = 1.0
    times: PositiveInt | None = None
    texts: PositiveInt | None = None
    metric: str | None = None
    keep: Literal["best", "last"] = "best"
    num_envs: PositiveInt = 64
    shown: NonNegativeInt = 5


@bounded
@dataclass(frozen=True)
class CheckpointSettings:
    """Checkpoints, from which a stopped run resumes.

    Args:
        every_passes: passes over the training texts between two checkpoints.
        every_seconds: maximum number of seconds between two checkpoints.
        keep: number of checkpoints to keep.
    """

    every_passes: PositiveFloat = 1.0
    every_seconds: PositiveFloat = 300.0
    keep: PositiveInt = 2


@bounded
@dataclass(frozen=True)
class RaySettings:
    """Workers on a Ray cluster that evaluate a population, encode the texts of a batch, or draw rollouts.

    Args:
        address: "local" starts a cluster on this machine, "auto" finds the one that runs on it, and HOST:PORT is the
            address of a cluster's head.
        workers: number of workers that evaluate a population or encode a batch; null to use this process only.
        rollout_workers: number of workers that draw rollouts for the process that learns; null to draw them here.
        gpus: GPUs of each worker, such as 0.5 for two workers on one GPU; null for one if the device is a GPU.
        checksum_every: generations or updates between two comparisons of the workers' weights.
    """

    address: str = "local"
    workers: PositiveInt | None = None
    rollout_workers: PositiveInt | None = None
    gpus: NonNegativeFloat | None = None
    checksum_every: PositiveInt = 10

    def __post_init__(self) -> None:
        if self.address not in ("local", "auto") and not re.fullmatch(r"[^:/\s]+:\d+", self.address):
            raise SettingsError(f"ray.address={self.address!r}: give local, auto or HOST:PORT, such as 10.0.0.1:6379")


@bounded
@dataclass(frozen=True)
class Settings:
    """All settings of a run.

    Attributes:
        algo: a name in ALGORITHMS, or `module:name` of a user's own algorithm.
        seed: seed of all random numbers.
        device: "auto", "cpu", "cuda", ….
        threads: number of torch's threads; None for torch's default.
        log_interval: updates between two logs.
        logger: names in LOGGERS with commas between them, in addition to metrics.jsonl; "none" for none.
        env: the environment.
        data: arguments of load_dataset.
        policy: arguments of LMPolicy.
        agent: arguments of the algorithm.
        budget: how long to train.
        evaluation: evaluation on the validation split.
        checkpoint: checkpoints, from which a stopped run resumes.
        ray: workers on a Ray cluster.
        run_dir: path of the run folder; None for runs/<env>/<algo>/<time-name>.
        resume: the run folder to resume.
        yaml: the complete settings as text, without run_dir and resume.
    """

    algo: str
    seed: NonNegativeInt
    device: str
    threads: PositiveInt | None
    log_interval: PositiveInt
    logger: str
    env: EnvSettings
    data: Mapping[str, Any]
    policy: Mapping[str, Any]
    agent: Mapping[str, Any]
    budget: BudgetSettings
    evaluation: EvaluationSettings
    checkpoint: CheckpointSettings
    ray: RaySettings
    run_dir: Path | None = None
    resume: Path | None = None
    yaml: str = field(default="", compare=False)

    def flat(self) -> dict[str, Any]:
        """Return every setting by its dotted key, as in config.yaml."""
        return dict(leaves(yaml.safe_load(self.yaml)))

    def with_agent(self, decided: Mapping[str, Any]) -> "Settings":
        """Return the same settings with these arguments of the algorithm."""
        agent = {**self.agent, **decided}
        return replace(self, agent=agent, yaml=as_yaml({**yaml.safe_load(self.yaml), "agent": agent}))


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Return nested settings as the text of a config.yaml."""
    return yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def leaves(values: Mapping[str, Any], prefix: str = "", depth: int = 2) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested settings; anything below section.key is part of the value."""
    for key, value in values.items():
        if depth > 1 and isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.", depth - 1)
        else:
            yield f"{prefix}{key}", value
