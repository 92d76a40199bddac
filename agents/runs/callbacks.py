"""Callbacks of a run: evaluation, choice of the best model, logs, checkpoints.

Evaluations happen in `on_step`, so that their numbers are logged together with the same update. If an update follows
many steps, they happen before the next rollout and have a separate log. Checkpoints are written between two
updates, after the log of the last one is on disk, so a checkpoint and the curve always agree.
"""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch as th
from rich.text import Text
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image

from lm_gym.agents.algorithms.text_algorithm import StopTraining
from lm_gym.agents.evaluation.confusion import confusion_image
from lm_gym.agents.evaluation.predictions import samples_table, write_predictions
from lm_gym.agents.files import write_folder
from lm_gym.agents.model.finite import require_finite
from lm_gym.agents.runs.clock import Clock
from lm_gym.agents.runs.curve import pending_logs, restore_pending
from lm_gym.agents.runs.interrupts import Stopped, StopRequest
from lm_gym.agents.runs.run_folder import RunFolder
from lm_gym.agents.runs.run_state import RunState
from lm_gym.agents.runs.settings import CheckpointSettings, SettingsError
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.tasks import Evaluation
from lm_gym.tasks.metric import metric_of


def peak_memory_bytes() -> int:
    """Measure the peak memory of this process: resident on the host, plus allocated on the GPU if one is used."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return host + (th.cuda.max_memory_allocated() if th.cuda.is_available() else 0)


class Evaluate(BaseCallback):
    """Evaluate at the start, at intervals and at the end. Keep the best model and the last predictions.

    Args:
        play: a function that evaluates the policy on the validation split.
        due: a function that returns how many evaluations are due by now, without the one at the start.
        folder: the run folder.
        state: the state of the run, which is updated.
        clock: the training time, which is stopped during evaluations.
        console: where a line for each evaluation is printed.
        shown: the number of texts shown in TensorBoard with their predictions.
        timesteps_per_pass: timesteps of one pass over the training texts, to print passes.
    """

    def __init__(
        self,
        play: Callable[[], Evaluation],
        due: Callable[[], int],
        folder: RunFolder,
        state: RunState,
        clock: Clock,
        console: Terminal,
        *,
        shown: int,
        timesteps_per_pass: int,
    ) -> None:
        super().__init__()
        self._play, self._due, self._folder, self._state = play, due, folder, state
        self._clock, self._console, self._shown = clock, console, shown
        self._timesteps_per_pass = timesteps_per_pass
        self._waiting = False  # True while an evaluation is recorded but not written

    def _on_training_start(self) -> None:
        self._done, self._ended = self._due(), False
        model: Any = self.model
        self._later = model.learns_after_many_steps  # the agent learns from the last rollout before the next one
        if self.model.num_timesteps == 0:
            self._evaluate()
            self._dump()

    def _on_step(self) -> bool:
        if not self._later:
            self._evaluate_if_due()
        return True

    def _on_rollout_start(self) -> None:
        if self._later:
            self._evaluate_if_due()
        self._dump()

    def _evaluate_if_due(self) -> None:
        model: Any = self.model
        done, last = self._due(), model.done >= 1.0
        if done > self._done or (last and not self._ended):
            self._done, self._ended = done, last
            self._evaluate()

    def _on_training_end(self) -> None:
        if self._state.evaluated_at != self.model.num_timesteps:
            self._evaluate()
        self._dump()

    def _evaluate(self) -> None:
        with self._clock.paused():
            model: Any = self.model
            require_finite(self.model.policy, f"after update {model._n_updates}")
            evaluation = self._play()
            state, metrics, timesteps = self._state, evaluation.metrics, self.model.num_timesteps
            if state.metric not in metrics:
                raise SettingsError(
                    f"{state.metric} chooses the best model, but it is undefined here: set evaluation.metric"
                )
            better = state.record(metrics[state.metric], timesteps)
            if better:
                policy: Any = self.model.policy
                write_folder(self._folder.best, policy.save_pretrained)
            for name, number in metrics.items():
                self.logger.record(f"eval/{name}", number)
            self.logger.record("budget/seconds", self._clock.seconds)
            self.logger.record("budget/peak_memory_bytes", max(state.peak_memory_bytes, peak_memory_bytes()))
            self.logger.record("eval/samples", samples_table(evaluation, self._shown))
            matrix = confusion_image(evaluation)
            if matrix is not None:
                self.logger.record("eval/confusion", Image(matrix, "HWC"))
            write_predictions(evaluation, self._folder.path)
            self._waiting = True
            shown = "  ".join(f"{name} {v:.4f}" for name, v in metrics.items() if metric_of(name).while_training)
            passes = timesteps / self._timesteps_per_pass
            line = Text(f"pass {passes:5.2f}  {shown}")
            self._console.say(line.append("  best", "green") if better else line)

    def _dump(self) -> None:
        """Write the evaluation if the algorithm has not logged it itself, which it only does every few updates."""
        if self.logger.name_to_value and self._waiting:
            if self.model.num_timesteps:
                self.model.dump_logs()
            else:
                self.logger.dump(0)
        self._waiting = False


class StopBySeconds(BaseCallback):
    """End training after some seconds, and make schedules follow the clock. It must be the first callback.

    Args:
        seconds: training time, including that of earlier processes.
        clock: the training time.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock

    def _init_callback(self) -> None:
        model: Any = self.model
        model.budget_spent = lambda: self._clock.seconds / self._seconds

    def _on_step(self) -> bool:
        return self._clock.seconds < self._seconds


class StopEarly(BaseCallback):
    """End training between two updates when the metric has not improved for a while. Comes after Evaluate.

    Args:
        patience: number of evaluations without a better metric.
        state: the state of the run.
    """

    def __init__(self, patience: int | None, state: RunState) -> None:
        super().__init__()
        self._patience, self._state = patience, state

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._state.stopped_early(self._patience):
            raise StopTraining


class LogRewards(BaseCallback):
    """Log `reward/<term>`: the unweighted reward of a text from each term, averaged over the texts of an update.

    Args:
        name: the name of the reward, used if it has only one term.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _on_step(self) -> bool:
        for info in self.locals.get("infos", ()):
            if "reward_terms" in info:
                for term, paid in info["reward_terms"].items():
                    self.logger.record_mean(f"reward/{term}", float(np.sum(paid)))
            elif "position_rewards" in info:
                self.logger.record_mean(f"reward/{self._name}", float(np.sum(info["position_rewards"])))
            elif "episode" in info:
                self.logger.record_mean(f"reward/{self._name}", info["episode"]["r"])
        return True


class SaveCheckpoints(BaseCallback):
    """Write checkpoints at intervals, at the end, and on a request to stop. It must come after Evaluate.

    Args:
        settings: how often to write, and how many checkpoints to keep.
        timesteps_per_pass: timesteps of one pass over the training texts.
        folder: the run folder.
        state: the state of the run, which is saved in the checkpoint.
        clock: the training time, which is stopped while saving; its seconds are stored in the state.
        request: whether to save and stop before the next update.
    """

    def __init__(
        self,
        settings: CheckpointSettings,
        timesteps_per_pass: int,
        folder: RunFolder,
        state: RunState,
        clock: Clock,
        request: StopRequest,
    ) -> None:
        super().__init__()
        self._request = request
        self._settings, self._folder, self._state, self._clock = settings, folder, state, clock
        self._every = settings.every_passes * timesteps_per_pass

    def _on_training_start(self) -> None:
        self._done = int(self.model.num_timesteps / self._every)
        self._saved = time.monotonic()
        restore_pending(self.logger, self._state.pending)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        done = int(self.model.num_timesteps / self._every)
        late = time.monotonic() - self._saved >= self._settings.every_seconds
        # Values recorded since the last log are neither in a file nor in a checkpoint: wait for the next log.
        if (done > self._done or late) and not self.logger.name_to_value:
            self._done = done
            self._save()
        if self._request.signal is not None:
            self._save()
            raise Stopped(self._request.signal)

    def _on_training_end(self) -> None:
        if self.logger.name_to_value:
            self.model.dump_logs()
        self._save()

    def _save(self) -> None:
        with self._clock.paused():
            model: Any = self.model
            require_finite(self.model.policy, f"after update {model._n_updates}")
            self._state.pending = pending_logs(self.logger)
            self._state.seconds = self._clock.seconds
            self._state.peak_memory_bytes = max(self._state.peak_memory_bytes, peak_memory_bytes())
            self._folder.save_checkpoint(
                self.model.num_timesteps, self.model.save, asdict(self._state), self._settings.keep
            )
            self._saved = time.monotonic()
