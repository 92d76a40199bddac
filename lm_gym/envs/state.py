"""The state of episodes, saved as their decisions and restored by making the decisions again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.envs.episodes import Episodes

_KEPT = ("text_index", "visits", "keys", "decided")


def save_episodes(episodes: Episodes) -> dict[str, Any]:
    """Return copies of the arrays that `restore_episodes` needs.

    Returns:
        text_index, visits, keys and decided, int64 [N] each; predictions, int64 [N, T]; and log_probs, float64 [N, T],
        if actions are distributions.
    """
    state: dict[str, Any] = {name: getattr(episodes, name).copy() for name in _kept(episodes)}
    state["predictions"] = episodes.observation["predictions"].copy()
    if episodes.log_probs is not None:
        state["log_probs"] = episodes.log_probs.copy()
    return state


def restore_episodes(episodes: Episodes, state: Mapping[str, Any]) -> None:
    """Start the texts of a state and make its decisions again, so that rewards continue from there.

    Args:
        episodes: episodes with the same task, reward and number of rows as the saved ones.
        state: the result of `save_episodes`.

    Raises:
        ValueError: the state does not fit.
    """
    _check(episodes, state)
    decided = np.asarray(state["decided"])
    everyone = np.arange(len(decided))
    _enter(episodes, state, everyone)
    if "cursor" not in episodes.observation:  # rewards depend only on the decisions
        episodes.observation["predictions"][...] = state["predictions"]
        episodes.decided[...] = decided
        if episodes.in_steps:
            _write_again(episodes, state)
        return
    # All rows finish together: a row with d decisions starts when the longest has d left. Until then its reward tracks
    # dummy decisions, which it forgets when it starts.
    last = int(decided.max())
    begins = last - decided
    for step in range(last):
        if step:
            _enter(episodes, state, np.flatnonzero(begins == step))
        live = begins <= step
        places = np.where(live, step - begins, 0)
        if episodes.order is not None:
            places = episodes.order[everyone, places]
        choices = np.where(live, state["predictions"][everyone, places], 0)
        log_probs = state["log_probs"][everyone, places] if "log_probs" in state else None
        episodes.decide(choices, log_probs, None if live.all() else live)
    if last:
        _enter(episodes, state, np.flatnonzero(decided == 0))


def _write_again(episodes: Episodes, state: Mapping[str, Any]) -> None:
    """Restore the decisions in texts that take several steps."""
    episodes.steps[...] = state["steps"]
    if episodes.log_probs is not None:
        episodes.log_probs[...] = state["log_probs"]
    if episodes.task.writes:
        predictions = episodes.observation["predictions"]
        rows, slots = np.nonzero(predictions < episodes.num_choices)
        episodes.task.write(episodes.observation, rows, slots, predictions[rows, slots])
    episodes.update_due()


def _kept(episodes: Episodes) -> tuple[str, ...]:
    """Return the saved arrays of each row; if a step decides one position, steps are the positions decided."""
    return (*_KEPT, "steps") if episodes.in_steps else _KEPT


def _enter(episodes: Episodes, state: Mapping[str, Any], rows: NDArray[np.int64]) -> None:
    keys = state["keys"][rows]
    for key in np.unique(keys):  # the key of the sampler, and of texts played by index
        some = rows[keys == key]
        episodes.enter(some, state["text_index"][some], state["visits"][some], int(key))


def _check(episodes: Episodes, state: Mapping[str, Any]) -> None:
    expected = {**dict.fromkeys(_kept(episodes), episodes.text_index.shape), "predictions": episodes.targets.shape}
    if episodes.log_probs is not None:
        expected["log_probs"] = episodes.targets.shape
    for name, shape in expected.items():
        if name not in state or np.shape(state[name]) != shape:
            found = f"has shape {np.shape(state[name])}" if name in state else "is missing"
            raise ValueError(f"the state's {name} {found}: an environment with these arguments needs {shape}")
    texts, count = state["text_index"], episodes.task.encoded.num_texts
    if texts.min() < 0 or texts.max() >= count:
        raise ValueError(f"the state plays text {texts.max()}, but the split has only the texts 0 … {count - 1}")
