"""BlackBox: one algorithm over any ask/tell optimizer and any search space; no gradient is ever computed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from agents.ask_tell import OPTIMIZERS
from agents.ask_tell.optimizer import Optimizer, StructuredOptimizer, VectorOptimizer
from agents.ask_tell.population import Population
from agents.episodes import play_returns
from agents.policy import LMPolicy
from agents.search_spaces import SEARCH_SPACES
from agents.search_spaces.space import SearchSpace
from agents.text_algorithm import TextAlgorithm
from agents.texts import Texts
from lm_gym.naming import among, check_choice


@dataclass(frozen=True)
class Judged:
    """A population's fitness on the same texts, and how its best member played them.

    Attributes:
        fitness: float64 [P].
        returns: float32 [N], what each text paid, mean over the members.
        choices: int64 [N, T], of the best member.
        log_probs: float32 [N, T], of the gold choices under the best member.
    """

    fitness: th.Tensor
    returns: NDArray[np.float32]
    choices: NDArray[np.int64]
    log_probs: NDArray[np.float32]


class BlackBox(TextAlgorithm):
    """Gradient-free search over a part of a policy, by any optimizer of `agents.ask_tell`.

    A generation is one batch of texts: all P members of the population decide the same texts, evaluated together by
    the search space, always by their most probable choices; what the environment would pay them is their fitness;
    between generations the policy is the optimizer's centre. One timestep is one position decided by one member.

    Fitness is the mean reward of a position where positions pay for themselves (log-likelihood: minus the
    cross-entropy; accuracy), and of a text elsewhere (F1, your own). `actions="distribution"` is what lets
    `log_likelihood` score probabilities; with `actions="token"` it scores the choice.

    In any other Gymnasium environment, with an `MlpPolicy`, a member plays one episode in each row of the environment
    (the same seeds for all members), one member after another, and its fitness is the mean return.

    Args:
        policy, env, seed, device, sb3: see TextAlgorithm. The environment's rows are the texts of a generation.
        optimizer: a name in OPTIMIZERS; None is the preset's own.
        search_space: a name in SEARCH_SPACES; None is the preset's own.
        optimizer_kwargs: arguments of the optimizer, over the preset's.
        search_space_kwargs: arguments of the search space.
        new_texts_every: generations that play the same texts before the next ones come; 0 keeps the first ones.
        max_rows: texts (times members) in one forward: bounds memory, changes nothing else.
        stop_fitness: stop when a generation's best member reaches it.
        patience: stop after so many generations without a better mean fitness of the population.

    Raises:
        ValueError: names that don't exist (with the nearest that does), arguments that the optimizer or the space
            doesn't take, an optimizer that can't search the space.
    """

    policy: Any
    optimizer: Optimizer
    space: SearchSpace
    env_arguments: ClassVar[dict[str, Any]] = {"unit": "sequence", "actions": "distribution"}
    command_defaults: ClassVar[dict[str, Any]] = {"env.reward": "log_likelihood", "env.num_envs": 64}
    preset: ClassVar[Mapping[str, Any]] = {"optimizer": "es", "search_space": "head", "optimizer_kwargs": {}}
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "LMPolicy": LMPolicy,
        "MlpPolicy": ActorCriticPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        *,
        optimizer: str | None = None,
        search_space: str | None = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        search_space_kwargs: dict[str, Any] | None = None,
        new_texts_every: int = 1,
        max_rows: int = 512,
        stop_fitness: float | None = None,
        patience: int | None = None,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        **sb3: Any,
    ) -> None:
        super().__init__(policy, env, seed=seed, device=device, **sb3)
        self.optimizer_name = optimizer or self.preset["optimizer"]
        self.search_space_name = search_space or self.preset["search_space"]
        self.optimizer_kwargs = optimizer_kwargs or {}
        self.search_space_kwargs = search_space_kwargs or {}
        self.new_texts_every, self.max_rows = new_texts_every, max_rows
        self.stop_fitness, self.patience = stop_fitness, patience
        self._best_mean, self._best_generation = -np.inf, 0
        check_choice("optimizer", self.optimizer_name, OPTIMIZERS)
        check_choice("search_space", self.search_space_name, SEARCH_SPACES)
        for name, value, bound in (("new_texts_every", new_texts_every, 0), ("max_rows", max_rows, 1)):
            if value < bound:
                raise ValueError(f"{name} must be at least {bound}, got {value}")
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        self.policy.set_training_mode(False)
        self.policy.requires_grad_(False)
        space: Any = SEARCH_SPACES[self.search_space_name]
        _check_arguments("search_space_kwargs", self.search_space_name, space, self.search_space_kwargs, {"policy"})
        self.space = space(self.policy, **self.search_space_kwargs)
        kind: Any = OPTIMIZERS[self.optimizer_name]
        given = {**self._preset_kwargs(), **self.optimizer_kwargs}
        fixed = {"initial", "domain", "centre", "blocks", "seed"}
        _check_arguments("optimizer_kwargs", self.optimizer_name, kind, given, fixed)
        seed = self._key(-2)
        if issubclass(kind, StructuredOptimizer):
            self.optimizer = kind(self.space.tensors(), self.space.blocks, seed=seed, **given)
        else:
            self.optimizer = kind(self.space.initial(), self.space.domain, seed=seed, **given)

    def _preset_kwargs(self) -> dict[str, Any]:
        """The preset's optimizer arguments; another optimizer than the preset's has its own defaults."""
        same = self.optimizer_name == self.preset["optimizer"]
        return dict(self.preset.get("optimizer_kwargs", {})) if same else {}

    def _check_env(self, env: VecEnv) -> None:
        if issubclass(self.policy_class, LMPolicy):
            if self._texts(env) is None:
                raise ValueError(
                    f"{type(self).__name__} decides whole texts: make the environment with unit='sequence' and "
                    "actions='distribution' (or 'token')"
                )
            super()._check_env(env)

    def _texts(self, env: VecEnv) -> Texts | None:
        if not issubclass(self.policy_class, LMPolicy):
            return None
        texts = Texts(env)
        return texts if texts.first.settings.unit == "sequence" else None

    @property
    def timesteps_per_pass(self) -> int:
        """Timesteps of one pass over the training texts: every position counts once for each member."""
        return self.optimizer.popsize * super().timesteps_per_pass

    # ------------------------------------------------------------------ a generation

    def _train_batch(self, texts: Texts | None, callback: BaseCallback) -> bool:
        callback.on_rollout_start()
        population = self.optimizer.ask()
        with th.inference_mode(), self._keyed_randomness(self._n_updates):
            if texts is None:
                fitness = self._play(population, callback)
                if fitness is None:
                    self._settle()
                    return False
            else:
                judged = self._judge(population, texts)
                fitness = judged.fitness
        with th.no_grad():
            self.optimizer.tell(fitness)
        self._settle()
        self._n_updates += 1
        self._record(fitness)
        goes_on = True
        if texts is not None:
            infos = self._infos(judged, texts)
            self._update_info_buffer(infos, np.ones(len(infos), np.bool_))
            self._next_texts(texts)
            callback.update_locals(locals())
            callback.on_rollout_end()
            goes_on = callback.on_step()
        else:
            callback.on_rollout_end()
        if not goes_on:
            return False
        self._dump_logs_if_due()
        return not self._is_done(fitness)

    def _settle(self) -> None:
        """The policy is the search's answer."""
        if isinstance(self.optimizer, VectorOptimizer):  # others have moved it in place
            with th.no_grad():
                self.space.write(self.optimizer.centre)

    def _judge(self, population: Population, texts: Texts) -> Judged:
        """Evaluates the members on the current texts."""
        obs, _ = self.policy.obs_to_tensor(self._last_obs)
        targets = texts.targets
        rows, slots = obs["position_mask"].bool().nonzero(as_tuple=True)
        at = rows.cpu().numpy(), slots.cpu().numpy()
        gold = th.as_tensor(targets[at], device=self.device)
        counted = len(rows) if texts.first.reward.separable else len(targets)
        fitness = np.full(population.size, np.nan)
        returns = np.zeros(len(targets))
        choices = np.zeros_like(targets)
        log_probs = np.zeros(targets.shape, np.float32)
        for members, said in self.space.evaluate(obs, population, self.max_rows):  # [p, Q, n]
            chosen, gold_log_probs = _decisions(said, gold, at, targets.shape)  # [p, N, T]
            failed = np.asarray(~np.isfinite(gold_log_probs).all((1, 2)))  # weights that overflow
            paid = self._paid(texts, chosen, np.where(failed[:, None, None], 0.0, gold_log_probs)).astype(np.float64)
            fitness[members] = np.where(failed, np.nan, paid.sum((1, 2)) / counted)
            returns += paid.sum((0, 2)) / population.size
            best = np.nanargmax(fitness) if not np.isnan(fitness).all() else -1
            if 0 <= (k := best - members.start) < len(chosen):
                choices, log_probs = chosen[k], gold_log_probs[k]
        self.num_timesteps += population.size * len(rows)
        self.forward_passes += population.size * len(targets)
        self.tokens += population.size * int(obs["attention_mask"].sum())
        return Judged(th.as_tensor(fitness), returns.astype(np.float32), choices, log_probs)

    @staticmethod
    def _paid(texts: Texts, choices: NDArray[np.int64], log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        if texts.first.settings.actions == "distribution":
            return texts.position_rewards(choices, log_probs)
        return texts.position_rewards(choices)

    def _next_texts(self, texts: Texts) -> None:
        """Goes on to the next texts, where it is their turn."""
        assert self.env is not None
        if self.new_texts_every and self._n_updates % self.new_texts_every == 0:
            self._last_obs = self.env.reset()  # type: ignore[assignment]
        self._batch_draws = texts.batch_draws

    def _infos(self, judged: Judged, texts: Texts) -> list[dict[str, Any]]:
        """What a step would have told of each text: the best member's rewards, the population's mean return."""
        env = texts.first
        paid = self._paid(texts, judged.choices[None], judged.log_probs[None])[0]
        counts = (texts.targets < env.task.shape.choices).sum(-1)
        infos: list[dict[str, Any]] = [
            {"position_rewards": row, "episode": {"r": float(r), "l": int(n), "t": 0.0}}
            for row, r, n in zip(paid, judged.returns, counts, strict=True)
        ]
        if len(env.reward.term_names) > 1:
            gold = (judged.log_probs[None],) if env.settings.actions == "distribution" else ()
            for name, term in texts.reward_terms(judged.choices[None], *gold).items():
                for info, row in zip(infos, term[0], strict=True):
                    info.setdefault("reward_terms", {})[name] = row
        return infos

    def _play(self, population: Population, callback: BaseCallback) -> th.Tensor | None:
        """Mean returns of the members in any environment, one after another; None where a callback asked to stop."""
        assert self.env is not None
        env, fitness = self.env, []

        def observe(infos: list[dict[str, Any]], running: NDArray[np.bool_]) -> bool:
            self.num_timesteps += int(running.sum())
            self.forward_passes += int(running.sum())
            self._update_info_buffer(infos)
            callback.update_locals({"infos": infos})
            return callback.on_step()

        for member in range(population.size):
            env.seed(self._key(self._n_updates))
            with self.space.materialised(population, member):
                returns = play_returns(self.policy, env, observe)
            if returns is None:
                return None
            fitness.append(float(returns.mean()))
        return th.tensor(fitness, dtype=th.float64)

    # ------------------------------------------------------------------ stopping, logs, saving

    def _is_done(self, fitness: th.Tensor) -> bool:
        """Whether the search may stop early."""
        mean = fitness.nanmean().item()
        if mean > self._best_mean:
            self._best_mean, self._best_generation = mean, self._n_updates
        if self.stop_fitness is not None and float(np.nanmax(fitness.numpy(), initial=-np.inf)) >= self.stop_fitness:
            return True
        return self.patience is not None and self._n_updates - self._best_generation >= self.patience

    def _record(self, fitness: th.Tensor) -> None:
        told = fitness[fitness.isfinite()]
        if len(told):
            self.logger.record("search/fitness_best", told.max().item())
            self.logger.record("search/fitness_mean", told.mean().item())
            self.logger.record("search/fitness_spread", told.std(correction=0).item())
        if len(told) < len(fitness):
            self.logger.record("search/failed", len(fitness) - len(told))
        self.logger.record("search/generations", self.optimizer.generation)
        self.logger.record("search/evaluations", self.optimizer.evaluations)
        for name, value in self.optimizer.logs().items():
            self.logger.record(f"search/{name}", value)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "space", "optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "space", "optimizer"]

    def save_pretrained(self, folder: Path) -> None:
        """Writes what the search has found as an ordinary checkpoint, with what the space keeps beside it."""
        self.space.save_pretrained(folder)


def _decisions(
    log_probs: th.Tensor, gold: th.Tensor, at: tuple[NDArray[np.int64], NDArray[np.int64]], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The most probable choices and the gold log-probabilities of members' log-probs [p, Q, n], as [p, N, T] arrays."""
    p = len(log_probs)
    choices, gold_log_probs = np.zeros((p, *shape), np.int64), np.zeros((p, *shape), np.float32)
    choices[:, at[0], at[1]] = log_probs.argmax(-1).cpu().numpy()
    said = log_probs.gather(-1, gold.expand(p, -1)[..., None]).squeeze(-1)
    gold_log_probs[:, at[0], at[1]] = said.float().cpu().numpy()
    return choices, gold_log_probs


def _check_arguments(where: str, name: str, kind: type, given: Mapping[str, Any], fixed: set[str]) -> None:
    """Raise ValueError on an argument that `kind` doesn't take, with the nearest that it does."""
    known = [key for key in inspect.signature(kind).parameters if key not in fixed]
    for key in given:
        if key not in known:
            raise ValueError(f"{where}: {name} has no argument {key!r}{among(key, known)}")
