"""The arguments of the environments, with their checks."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from lm_gym.bounds import PositiveInt, bounded
from lm_gym.envs.sampler import SAMPLINGS
from lm_gym.naming import among, check_choice
from lm_gym.rewards import RewardSpec
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Dataset

UNITS = ("token", "sequence")
ACTIONS = ("token", "distribution")


@bounded
@dataclass(frozen=True)
class EnvArguments:
    """Arguments of every environment.

    Args:
        dataset: `"builtin"`, a file, a folder, `"hub:<id>"`, Python data, or a `Dataset` (see `lm_gym.load_dataset`)
        split: `"train"`, `"validation"` or `"test"`
        tokenizer: `"tiny"`, a folder or file, `"hub:<id>"`, or a tokenizer (see `lm_gym.load_tokenizer`)
        max_length: maximum number of sub-tokens of a text, including special tokens
        unit: `"token"`: a step decides one {position}; `"sequence"`: a step decides all of them
        actions: `"token"`: an action is one {choice}; `"distribution"`: log-probabilities of all {choices}
        reward: a name, `{{name: weight}}`, a `Reward`, or a function (see `lm_gym.make_reward`)
        reward_kwargs: arguments of a named reward
        dense: pay at each {position}; `False` pays the sum at the last one
        sampling: `"shuffled"`: epochs without replacement; `"bucketed"`: the same, with texts of similar length in a
            batch, which reduces padding; `"sequential"`: the order of the corpus
        mask_actions: whether the observation has `action_mask`
        max_episode_steps: maximum number of steps of an episode
        render_mode: `None` or `"ansi"`

    Raises:
        ValueError: a value is unknown or out of range, or two arguments conflict.
        TypeError: the render mode is unknown.
    """

    dataset: "str | Path | Dataset" = "builtin"
    split: str = "train"
    tokenizer: str | Path | Tokenizer | TextTokenizer = "tiny"
    max_length: PositiveInt = 128
    unit: str = "token"
    actions: str = "token"
    reward: RewardSpec | None = None
    reward_kwargs: Mapping[str, Any] | None = None
    dense: bool = True
    sampling: str = "shuffled"
    mask_actions: bool = False
    max_episode_steps: PositiveInt | None = None
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        check_choice("actions", self.actions, ACTIONS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        if self.render_mode not in (
            None,
            "ansi",
        ):  # Stable-Baselines3 tries "rgb_array" first, and None after a TypeError
            raise TypeError(f"unknown render_mode={self.render_mode!r}: there are None and 'ansi'")


def read_arguments(arguments: Mapping[str, Any], options: type[Any]) -> tuple[EnvArguments, Any]:
    """Split keyword arguments into the common arguments of environments and the options of the task.

    Args:
        arguments: keyword arguments of the environment.
        options: the task's dataclass of options.

    Raises:
        TypeError: an argument is unknown.
        ValueError: a value is invalid.
    """
    common, own = ({field.name for field in fields(kind)} for kind in (EnvArguments, options))
    for name in arguments:
        if name not in common | own:
            raise TypeError(f"unexpected keyword argument {name!r}{among(name, common | own)}")
    return tuple(  # type: ignore[return-value]
        kind(**{name: value for name, value in arguments.items() if name in known})
        for kind, known in ((EnvArguments, common), (options, own))
    )
