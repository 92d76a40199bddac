"""Settings with the defaults that depend on the model, and why: what `--print_config` prints."""

import re
from typing import Any

from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.settings import Settings


def explained(settings: Settings) -> str:
    """The text of config.yaml; a comment says what is decided for a setting that was left to us, and why.

    The agent is made as for training: what cannot be trained fails here too.
    """
    agent = make_agent(settings, make_env(settings, make_training_dataset(settings), "train", learning=True))
    values = agent.decided_settings()
    lines = settings.yaml.splitlines()
    for i in range(lines.index("agent:") + 1, len(lines)):
        key = re.match(r"  (\w+):", lines[i])
        if not lines[i].startswith(" "):
            break
        if key and key[1] in values and values[key[1]] != settings.agent[key[1]]:
            lines[i] += f"  # {_short(values[key[1]])}: {agent.decided[key[1]]}"
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
