"""Settings with the defaults that depend on the model, and the reasons, for `--print_config`."""

import re

from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.settings import Settings


def explained(settings: Settings) -> str:
    """Return the text of config.yaml, with a comment on every automatic setting that gives its value and the reason.

    The agent is created as for training, so settings that cannot be trained also fail here.
    """
    agent = make_agent(settings, make_env(settings, make_training_dataset(settings), "train", learning=True))
    said = agent.explanations()
    lines = settings.yaml.splitlines()
    for i in range(lines.index("agent:") + 1, len(lines)):
        key = re.match(r"  (\w+):", lines[i])
        if not lines[i].startswith(" "):
            break
        if key and key[1] in said:
            lines[i] += f"  # {said[key[1]]}"
    return "\n".join(lines) + "\n"
