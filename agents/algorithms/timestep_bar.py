"""The progress bar of `learn`."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm


class TimestepBar(BaseCallback):
    """A tqdm bar that counts timesteps (Stable-Baselines3's bar counts rows, each of which is many timesteps)."""

    def _on_training_start(self) -> None:
        total = self.model._total_timesteps
        self._bar = tqdm(total=total, initial=self.model.num_timesteps, unit="position", unit_scale=True)

    def _on_step(self) -> bool:
        self._bar.update(min(self.model.num_timesteps, self.model._total_timesteps) - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._bar.close()
