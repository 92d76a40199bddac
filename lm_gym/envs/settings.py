"""The arguments of the environments, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from lm_gym.envs.sampler import SAMPLINGS
from lm_gym.naming import among, check_choice
from lm_gym.rewards import RewardSpec
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Dataset

UNITS = ("token", "sequence")
ACTIONS = ("token", "distribution")
FILLS = ("parallel", "sequential")


@dataclass(frozen=True)
class Settings:
    """What an environment is built of; the manuals of the environments say what each argument means.

    Raises:
        ValueError: if a value is unknown or out of range, or two arguments contradict one another.
    """

    dataset: "str | Path | Dataset" = "builtin"
    split: str = "train"
    tokenizer: str | Path | Tokenizer | TextTokenizer = "tiny"
    max_length: int = 128
    unit: str = "token"
    actions: str = "token"
    reward: RewardSpec | None = None
    reward_kwargs: Mapping[str, Any] | None = None
    dense: bool = True
    fill: str = "parallel"
    sampling: str = "shuffled"
    mask_probability: float = 0.15
    mask_actions: bool = False
    max_episode_steps: int | None = None
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        check_choice("actions", self.actions, ACTIONS)
        check_choice("fill", self.fill, FILLS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        if self.render_mode is not None:
            check_choice("render_mode", self.render_mode, ("ansi",))
        if isinstance(self.max_length, bool) or not isinstance(self.max_length, int) or self.max_length < 1:
            raise ValueError(f"max_length={self.max_length!r} is not a positive number of sub-tokens")
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"max_episode_steps={self.max_episode_steps} leaves no step: give 1 or more, or None")
        if self.fill == "sequential" and self.unit == "sequence":
            raise ValueError(
                "fill='sequential' shows earlier predictions to later decisions, and unit='sequence' decides all at "
                "once: take unit='token' or fill='parallel'"
            )

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Settings":
        """Build settings of keyword arguments.

        Raises:
            TypeError: if an argument is unknown.
            ValueError: if a value is.
        """
        known = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in known:
                raise TypeError(f"unexpected keyword argument {name!r}{among(name, known)}")
        return cls(**arguments)
