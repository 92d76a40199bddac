"""A model that a run has saved, apart from its run folder: `best/`, or a copy of it on the hub.

lm_gym.yaml   the settings of the run that evaluations and predictions need, without paths of this machine
lm_gym.json   the fields of the data, as in data.json of a run folder
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import yaml
from huggingface_hub import snapshot_download

from lm_gym.agents.files import to_json
from lm_gym.agents.runs.run_folder import Checkpoint, RunFolder, RunFolderError
from lm_gym.agents.runs.settings import Settings, as_yaml
from lm_gym.envs import find_task
from lm_gym.hub import hub_or_cache

CONFIG, DATA = "lm_gym.yaml", "lm_gym.json"
HUB = "hub:"
_READING = ("columns", "token_column", "tag_column", "text_column", "delimiter", "scheme", "names", "header")
_OF_TRAINING = ("num_envs", "group_size", "sampling", "tokenizer")


class SavedModel(RunFolder):
    """The folder of a model that a run has saved, which commands can open like a run folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config, self.data, self.best = path / CONFIG, path / DATA, path
        self.results = Path()

    @property
    def has_data(self) -> bool:
        """Whether the data of the run can be found from anywhere."""
        return "dataset" in yaml.safe_load(self.config.read_text(encoding="utf-8"))["env"]

    def last_checkpoint(self) -> Checkpoint | None:
        """Raise RunFolderError, because a saved model has no checkpoints."""
        raise RunFolderError(f"{self.path} is a saved model, which has no checkpoints: use the best model")


def open_folder(path: Path) -> RunFolder:
    """Open a run folder, or a model that a run has saved, which may be on the hub (`hub:<id>`).

    Raises:
        RunFolderError: there is neither; the message says what is missing.
    """
    if str(path).startswith(HUB):
        path = _downloaded(str(path).removeprefix(HUB))
    elif path.name == "best" and (path.parent / "config.yaml").is_file():
        path = path.parent
    if (path / CONFIG).is_file():
        return SavedModel(path)
    if (path / "config.json").is_file():
        raise RunFolderError(f"{path} is a model without {CONFIG}, which finished runs write: give the run folder")
    return RunFolder.open(path)


def _downloaded(identifier: str) -> Path:
    with hub_or_cache(identifier) as unreachable:
        try:
            return Path(snapshot_download(identifier))
        except (OSError, ValueError) as error:  # huggingface_hub's errors are among these
            reason = unreachable or next(iter(str(error).splitlines()), type(error).__name__)
            raise RunFolderError(f"no model {identifier!r} on the Hugging Face hub: {reason}") from error


def files_of(settings: Settings, run: RunFolder) -> dict[str, str]:
    """Return the files that make the folder of a model a SavedModel: contents by name.

    There are none if the tokenizer is a file, because the folder of the model does not contain it.
    """
    if str(settings.env.tokenizer).endswith(".json"):
        return {}
    files = [option.name for option in fields(find_task(settings.env.id).Options) if option.metadata.get("file")]
    local = [] if settings.env.dataset.startswith(("builtin", HUB)) else ["dataset"]
    env = yaml.safe_load(settings.yaml)["env"]
    kept = {
        "algo": settings.algo,
        "env": {key: value for key, value in env.items() if key not in (*_OF_TRAINING, *files, *local)},
        "data": {key: settings.data[key] for key in _READING},
        "policy": {"dtype": settings.policy["dtype"]},
    }
    return {CONFIG: as_yaml(kept), DATA: to_json({"fields": run.data_fields()}) + "\n"}
