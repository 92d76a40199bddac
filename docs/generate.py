"""Write the generated parts of the pages: `python -m docs.generate`.

The pages of the environments are manuals generated from their tasks. In other pages, docs/tables.py fills the marked
tables.
"""

import inspect
from pathlib import Path

import gymnasium
from gymnasium.envs.registration import load_env_creator, registry

import lm_gym
from docs.tables import MARKED, filled

DOCS = Path(__file__).parent
FOLDER = DOCS / "environments"


def pages() -> dict[str, str]:
    """Return the Markdown of every registered environment, by file name."""
    ids = sorted(id_ for id_, spec in registry.items() if spec.namespace == "lm_gym")
    made = {}
    for id_ in ids:
        kind: type[lm_gym.TextEnv] = load_env_creator(registry[id_].entry_point)
        made[f"{kind.task_class.name}.md"] = page(id_, kind)
    return made


def page(id_: str, kind: type[lm_gym.TextEnv]) -> str:
    """Return the Markdown of an environment: its spaces with the builtin data, and its manual."""
    summary, _, manual = inspect.getdoc(kind).partition("\n\n")
    env = gymnasium.make(id_)
    rows = {
        "Action space": env.action_space,
        "Observation space": f"Dict of {', '.join(env.observation_space)}",
        "`gymnasium.make`": f'`gymnasium.make("lm_gym:{id_}")`',
        "`gymnasium.make_vec`": f'`gymnasium.make_vec("lm_gym:{id_}", num_envs=64)`',
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"<!-- Written by docs/generate.py from lm_gym.tasks: edit {kind.task_class.__name__}. -->\n"
        f"# {id_}\n\n{summary}\n\n| with the builtin data | |\n|---|---|\n{table}\n\n{manual}\n"
    )


def marked() -> list[Path]:
    """Return the pages with marked tables."""
    return [path for path in sorted(DOCS.rglob("*.md")) if MARKED.search(path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for path in marked():
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
