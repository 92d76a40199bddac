"""A trained classifier for texts outside a dataset."""

from __future__ import annotations

from collections.abc import Sequence

from lm_gym.agents.evaluation.predicting import as_records
from lm_gym.agents.runs.trained_run import TrainedRun
from lm_gym.data.options import ReadOptions
from lm_gym.data.stream import RecordStream


class Classifier:
    """Label texts with the best model of a run. The data of the run is not needed.

    Args:
        run: the run.

    Attributes:
        labels: names of the labels.

    Raises:
        RunFolderError: the run has no model yet.
        ValueError: the task does not give each text one label, or it needs pairs of texts.
    """

    def __init__(self, run: TrainedRun) -> None:
        self._predictor, reading = run.predictor()
        task = self._predictor.task
        if not any(field.kind == "label" for field in task.fields):
            raise ValueError(f"{task.env_id} does not label texts: give a run of text classification")
        if len(reading.fields) > 1:
            raise ValueError("the run was trained on pairs of texts, but a stream has one text per line")
        self._options, self._max_length = ReadOptions(fields=reading.fields), run.settings.env.max_length
        self.labels = list(self._predictor.names)

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most probable label of each text and its probability. No text may be blank."""
        stream = RecordStream(as_records(texts), "texts", "text", self._options)
        found = [predicted.found for predicted in self._predictor.predict(stream, chunk=max(1, len(texts)))]
        return [(each["predicted"], each["probability"]) for each in found]

    def notes(self) -> list[str]:
        """Return what users should know about the texts so far, such as how many `max_length` cut."""
        return self._predictor.counts.notes(self._predictor.task, self._max_length)
