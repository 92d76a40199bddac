"""The manual of a task's environment, with Gymnasium's sections, generated from the task."""

import inspect
from dataclasses import fields
from typing import Any

from lm_gym.envs.arguments import EnvArguments
from lm_gym.rewards import REWARDS, makes_reward
from lm_gym.tasks import Task

_SPACES = """With n {choices}, and at most T {positions} in a text:

| `unit` | `actions="token"` | `actions="distribution"` |
|---|---|---|
| `"token"` | `Discrete(n)` | `Box(-1e4, 1e4, (n,), float32)` |
| `"sequence"` | `MultiDiscrete([n] * T)` | `Box(-1e4, 1e4, (T, n), float32)` |

A distribution consists of unnormalised log-probabilities, which may have any finite values. Actions beyond the last
{position} of a text are ignored. `action_masks()` returns the {choices} that make sense; the environment does not
enforce the mask and accepts any {choice}."""

_OBSERVATION = """A Dict of integer Boxes, padded to L sub-tokens, the length of the longest text of all splits (at most
`max_length`):

| key | shape | values |
|---|---|---|
| `input_ids` | int64 [L] | sub-token ids, including special tokens and padding |
| `attention_mask` | int8 [L] | 1 at sub-tokens, 0 at padding |
| `positions` | int64 [T] | index in `input_ids` of each {position}, 0 where padded |
| `position_mask` | int8 [T] | 1 at {positions}, 0 at padding |
| `predictions` | int64 [T] | {choices} chosen so far; n where undecided or padded |
| `cursor` | int64 [1] | index in `positions` of the {position} to decide; at the end, the last (`unit="token"`) |
| `action_mask` | int8 [n] | 1 at {choices} that make sense ({masked}) |"""

_STEPS = """
| `due` | int8 [T] | 1 at {positions} that the next step may decide (`unit="sequence"`, texts with several steps) |"""

_STEPS_LEFT = """
| `steps_left` | int64 [1] | steps that are left (the same, with `max_steps`) |"""

_REWARDS = """The default is `"{default}"`. Named rewards:

{named}

`reward` also accepts a mapping `{{name: weight}}`, a `lm_gym.Reward`, or a function of predictions, targets and mask.
With `unit="sequence"` the reward of a step is the sum over the text, and `info["position_rewards"]` (float32 [T])
holds the reward of each {position}."""

_START = """An undecided text of the split: the sampler's next one, or the one given by `options["indices"]`. `info`
holds its `index` and its `text`."""

_END = """An episode terminates when its last {position} is decided. Only `max_episode_steps` truncates it."""

_END_OF_STEPS = """An episode terminates when its last {position} is decided, or after `max_steps`; it is never
truncated, except by `max_episode_steps`."""

_MORE = """`gymnasium.make_vec` also accepts `autoreset_mode` and `group_size` (see `lm_gym.TextVectorEnv`)."""


def manual(task: type[Task]) -> str:
    """Return the manual of the task's environment as Markdown."""
    summary, _, description = inspect.cleandoc(task.__doc__ or task.name).partition("\n\n")
    words = task.nouns._asdict()
    several = task.in_steps is not Task.in_steps  # whether texts take several steps
    limited = task.max_steps is not Task.max_steps
    observation = _OBSERVATION + _STEPS * several + _STEPS_LEFT * limited
    end = _END_OF_STEPS if limited else _END
    masked = "always" if task.masked else "`mask_actions=True`"
    sections = {
        "Description": description or "See above.",
        "Action Space": _SPACES.format(**words),
        "Observation Space": observation.format(masked=masked, **words),
        "Rewards": _REWARDS.format(default=task.default_reward, named=_named_rewards(task), **words),
        "Starting State": _START,
        "Episode End": end.format(**words),
        "Arguments": "\n".join([*_arguments(task, EnvArguments), *_arguments(task, task.Options), "", _MORE]),
        "Version History": "- v0: first release",
    }
    return "\n\n".join([summary, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def _named_rewards(task: type[Task]) -> str:
    made = {name: make() for name, make in REWARDS.items() if makes_reward(make)}
    gold = task.gold | task.optional_gold
    fitting = {name: reward for name, reward in made.items() if reward.gold is None or reward.gold & gold}
    return "\n".join(f'- `"{name}"`: {r.summary.format(**task.nouns._asdict())}' for name, r in fitting.items())


def _arguments(task: type[Task], kind: type[Any]) -> list[str]:
    """Return a line for each field of a dataclass: its default, and its description from the docstring's `Args`."""
    said = described(kind)
    return [
        f"- `{field.name}={_default(task, field)!r}`: {said.get(field.name, '').format(**task.nouns._asdict())}"
        for field in fields(kind)
    ]


def _default(task: type[Task], field: Any) -> Any:
    return task.default_reward if field.name == "reward" else field.default


def described(kind: type[Any]) -> dict[str, str]:
    """Return the description of each argument in the `Args` of a class's docstring."""
    _, _, text = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line and not line.startswith("    "):
            break
        body = line.strip()
        if line.startswith("    ") and not line.startswith("     ") and ": " in body:
            name, _, body = body.partition(": ")
            found[name] = body
        elif body:
            found[name] += f" {body}"
    return found
