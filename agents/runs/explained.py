"""Settings with the defaults that depend on the model, and why: what `--print_config` prints."""

import re

from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.settings import Settings


def explained(settings: Settings) -> str:
    """The text of config.yaml; a comment says what is decided for a setting that was left to us, and why.

    The agent is made as for training: what cannot be trained fails here too.
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
