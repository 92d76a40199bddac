"""`push_to_hub`: the best model of a run on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import HfApi

from lm_gym.agents.files import CHECKSUMS, find_damage
from lm_gym.agents.runs.card import CARD
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError


def push_to_hub(
    run: str | os.PathLike[str], repo_id: str, *, private: bool | None = None, token: str | None = None
) -> str:
    """Upload the best model of a finished run with its model card to the Hugging Face hub.

    Args:
        run: the run folder.
        repo_id: the repository, "user/name"; it is created if it does not exist.
        private: whether a new repository is private; None for the default of the account.
        token: an access token; by default that of `hf auth login` or of the variable HF_TOKEN.

    Returns:
        The address of the commit.

    Raises:
        RunFolderError: the run has no finished model, or the model is damaged.
        huggingface_hub.errors.HfHubHTTPError: the hub refuses.
    """
    best = RunFolder.open(Path(run)).best
    if not (best / CARD).is_file():
        raise RunFolderError(f"{run} is not finished: train it with --resume {run}, which writes {best / CARD}")
    damage = find_damage(best)
    if damage is not None:
        raise RunFolderError(f"{best}: {damage}")
    api = HfApi(token=token)
    repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    message = "Upload the best model of a run of lm-gym"
    done = api.upload_folder(repo_id=repository, folder_path=best, commit_message=message, ignore_patterns=[CHECKSUMS])
    return str(done)
