"""The base class of tasks, which turn a split into texts with positions to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lm_gym.costs import Costs
from lm_gym.metrics import Report
from lm_gym.tasks.baseline import RANDOM, Baseline
from lm_gym.tasks.display import Display
from lm_gym.tasks.metric import ACCURACY, COMMON, Metric
from lm_gym.tasks.steps import Steps

if TYPE_CHECKING:
    from lm_gym.tasks.evaluation import Evaluation

HeadKind = Literal["labels", "text_labels", "vocabulary", "label_words", "pointer", "similarity"]


class Task(Steps, Display):
    """Base class of tasks; an instance is an encoded split, ready to play.

    A task is one class. Its base classes hold its members by what they define, so that each can be read alone:
    `EncodedSplit` (the fields of a record, the choices and the encoding of texts), `Dynamics` (how an episode starts,
    which choices are legal, what they change, and when it ends), `Steps` (texts that take several steps) and `Display`
    (how a decided text is shown). This class adds the policy, the rewards, the metrics and the baselines.

    Register a task with `lm_gym.register_task`. The docstring of the class becomes the description in the manual of its
    environment.

    Attributes:
        default_reward: name of the default reward.
        metric_reward: name of the reward that pays the first metric, for searches that need no smooth reward; None if
            they do not prefer it to a smooth one.
        gold: kinds of gold that the targets offer to rewards (see `lm_gym.rewards.Reward.gold`).
        optional_gold: kinds of gold that some options add.
        head: the policy's output at a position: one logit per label, from a token classifier ("labels") or a text
            classifier ("text_labels"); one per vocabulary entry ("vocabulary"); one per label, from the words of the
            vocabulary that stand for it ("label_words"); or one per candidate in the text, from a token classifier at
            the candidate's marker ("pointer"), or by the similarity of its embedding to that of the context
            ("similarity").
        metrics: the task's own metrics; the first chooses the best model.
        baselines: baselines that any agent must beat.
        ranked: whether metrics need the rank of the gold choice (`Evaluation.target_ranks`).
        weighting: whether every `"position"` or every `"text"` has equal weight in supervised learning.
        usage: Markdown that shows how to use a checkpoint in transformers, `FOLDER` being its folder; empty if the
            pipeline of its head does.
    """

    default_reward: ClassVar[str] = "accuracy"
    metric_reward: ClassVar[str | None] = None
    gold: frozenset[str] = frozenset({"choice"})
    optional_gold: ClassVar[frozenset[str]] = frozenset()
    head: HeadKind = "labels"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    baselines: ClassVar[tuple[Baseline, ...]] = (RANDOM,)
    ranked: ClassVar[bool] = False
    weighting: ClassVar[Literal["position", "text"]] = "position"
    usage: ClassVar[str] = ""

    @classmethod
    def check(cls, unit: str, options: Any) -> None:
        """Raise ValueError if the task's own arguments conflict with the environment's `unit`."""

    @classmethod
    def whole(cls, options: Any) -> Any:
        """Return the options for deciding whole texts (`unit="sequence"`), as evaluations do."""
        return options

    @classmethod
    def evaluated_in(cls, options: Any) -> dict[str, Any]:
        """Return arguments of the environment that evaluations need for these options, besides `unit="sequence"`."""
        return {}

    @classmethod
    def explored_in(cls, options: Any) -> dict[str, Any]:
        """Return the arguments of the environment with which policy gradients learn best, for these options."""
        return {}

    @classmethod
    def learned_from(cls, options: Any) -> Any:
        """Return the options with which the supervised twin learns from gold choices."""
        return options

    @property
    def policy_arguments(self) -> dict[str, Any]:
        """Return arguments of an `LMPolicy` for this task, as plain values: the head and the names of the labels."""
        return {"head": self.head, "labels": self.choice_names}

    @property
    def costs(self) -> Costs | None:
        """The costs of wrong choices; None if the task defines none."""
        return None

    @classmethod
    def all_metrics(cls) -> tuple[Metric, ...]:
        """Return the task's own metrics, then those of every task."""
        return (*cls.metrics, *COMMON)

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return reports by name; none by default."""
        return {}

    def other_ways(self, played: Evaluation) -> dict[str, dict[str, Any]]:
        """Return other ways to play the texts with the same policy, to compare with.

        Args:
            played: an evaluation of the policy with this task.

        Returns:
            By their names in reports, the options that differ from `options`; none by default.
        """
        return {}
