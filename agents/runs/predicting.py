"""`predict`: texts without gold, in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_gym.agents.evaluation.predicting import as_records
from lm_gym.agents.runs.run_parser import PREDICTIONS_MAY_CHANGE
from lm_gym.agents.runs.trained_run import open_run
from lm_gym.data.options import ReadOptions
from lm_gym.data.stream import RecordStream


def predict(
    run: str | os.PathLike[str], texts: Iterable[str | Sequence[str] | Mapping[str, Any]], **settings: Any
) -> list[dict[str, Any]]:
    """Predict texts with the best model of a run. They need no gold, and the data of the run is not read.

    Args:
        run: the run folder; or the folder of a model that a run has saved, or its id on the hub as `hub:<id>`.
        texts: strings, lists of words, or records such as `{"text": "…", "id": 7}`; or a pandas or Polars frame.
        settings: settings of the run to change, with "__" for dots: `env__max_length=256`, `device="cpu"`.

    Returns:
        For each text its record with the predictions added: `predicted` (the choices; None if the text has no words or
        nothing to decide), `probability`, and what the task adds (`Task.predicted`).

    Raises:
        DataError: a text cannot be read (the message has its index), or `texts` is a single text.
        RunFolderError: the run has no model yet.
        SettingsError: a setting is unknown or may not change.
    """
    changed = [f"--{key.replace('__', '.')}={value}" for key, value in settings.items()]
    predictor, options = open_run(Path(run), changed, PREDICTIONS_MAY_CHANGE).predictor()
    stream = RecordStream(as_records(texts), "texts", "text", ReadOptions(fields=options.fields))
    return [predicted.merged() for predicted in predictor.predict(stream)]
