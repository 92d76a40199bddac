"""LMPolicy: a Hugging Face language model as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lm_gym.agents.model.adamw import GroupedAdamW, parameter_groups
from lm_gym.agents.model.environment_spaces import (
    read_action_space,
    read_observation,
    read_observation_space,
)
from lm_gym.agents.model.freezing import matching
from lm_gym.agents.model.heads import CLASSIFIERS, Head, are_generic, head_parameters, resolve_head
from lm_gym.agents.model.label_words import readme
from lm_gym.agents.model.loading import model_path
from lm_gym.agents.model.model_arguments import ModelArguments, build_language_model
from lm_gym.agents.model.packed import AtCursors, Packed, entropy
from lm_gym.agents.model.padding import warn_if_padding_is_read
from lm_gym.agents.model.position_model import check_length
from lm_gym.agents.model.position_policy import PositionPolicy
from lm_gym.agents.model.prompts import install, load_prompt, save_prompt
from lm_gym.agents.model.text_encoder import TensorObservation, TextEncoder
from lm_gym.agents.model.tokenizer import check_tokenizer, save_tokenizer
from lm_gym.agents.model.waiting import load_wait_head, save_wait_head
from lm_gym.bounds import Fraction, NonNegativeFloat, PositiveFloat, bounded
from lm_gym.tokenizer import TextTokenizer

_FORBIDDEN = -1e8  # log-probability of a forbidden choice


@bounded
class LMPolicy(PositionPolicy):
    """A policy made from a masked LM, causal LM, token or text classifier, for lm_gym's environments.

    It supports both units and both forms of actions. Each call encodes a text once, even if several rows play it, and
    runs the head only at positions. With `unit="token"`, in evaluation mode and without gradients, a text is encoded
    only when it starts or changes, or when the weights change; its other positions cost only the head. The critic is a
    linear layer on detached hidden states, so it does not affect the language model.

    If there is one more choice than there are tokens, the last choice leaves a position open, and a small head decides
    whether to fill a position (`WaitHead`).

    Args:
        observation_space: the environment's observation space (a Dict with input_ids, attention_mask, positions, …).
        action_space: Discrete(n), MultiDiscrete([n] * T), Box([n]) or Box([T, n]).
        lr_schedule: maps the remaining progress (1 → 0) to the learning rate.
        model: `"tiny"`, a local folder, a hub id, or a configuration dict (for new weights).
        head: `"vocabulary"` (of a language model), `"label_words"` (the same head, read at the words that stand for
            labels), `"labels"` (of a token classifier), `"text_labels"` (of a text classifier), `"pointer"` (of a
            token classifier with one label, read at the markers of the candidates in a text) or `"similarity"` (of a
            token classifier whose outputs are embeddings of a context and its candidates, encoded apart); None: the
            vocabulary if there are as many choices as tokens, else labels.
        labels: names of the choices of a head of labels, in order. Checkpoints store them, and rows of a checkpoint's
            head are matched by name (see `load_model`). None: the checkpoint's own names.
        label_words: the words for each label, from `policy_arguments` of the task; only for `head="label_words"`.
        pointer: how candidates are found in a text, from `policy_arguments` of the task; only for `head="pointer"` and
            `"similarity"`.
        facts: facts about the task that checkpoints store in their configuration, as `lm_gym`, from `policy_arguments`
            of the task.
        freeze: glob patterns over the names of parameters to freeze, such as `("*embeddings*",)`.
        head_lr_scale: learning rate of a head of labels and of the critic, as a multiple of the encoder's.
        weight_decay: AdamW's weight decay of matrices.
        temperature: divides the logits of the choices: below 1, samples are closer to the most probable choice.
        dropout: overrides the model's dropout probabilities; None keeps them.
        dtype: dtype of the weights: `"float32"`, `"bfloat16"` or `"float16"`.
        tokenizer: source of the tokenizer for save_pretrained; by default `model`.
        use_sde: must be False; exists for compatibility with Stable-Baselines3.

    Attributes:
        start: the model before any update; default settings depend on it.
        distinct: group size G > 0 (PPO sets it, for `unit="token"`): while a rollout is collected, rows k·G … k·G + G-1
            sample without replacement at the position that they share. 0: all rows sample independently.
        critic: function that gives the values [B, 1] of a rollout's steps in place of the linear layer (PPO sets it).

    Raises:
        ValueError: the spaces are not lm_gym's, the vocabularies of model and environment differ, the checkpoint lacks
            weights, or texts are too long for the model.
    """

    distinct: int = 0
    critic: Callable[[AtCursors, TensorObservation], th.Tensor] | None = None

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: str | dict[str, Any] = "tiny",
        head: Head | None = None,
        labels: Sequence[str] | None = None,
        label_words: Mapping[str, Any] | None = None,
        pointer: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        freeze: Sequence[str] = (),
        head_lr_scale: PositiveFloat = 5.0,
        weight_decay: NonNegativeFloat = 0.01,
        temperature: PositiveFloat = 1.0,
        dropout: Fraction | None = None,
        dtype: str = "float32",
        tokenizer: str | None = None,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde=True: state-dependent exploration needs continuous actions; set it to False")
        BasePolicy.__init__(self, observation_space, action_space, normalize_images=False)
        self.unit, self.distribution, self.num_choices = read_action_space(action_space)
        vocabulary, self.max_length = read_observation_space(observation_space)
        self.waits = head in (None, "vocabulary") and self.num_choices == vocabulary + 1
        self.head, labels = resolve_head(head, labels, self.num_choices - self.waits, vocabulary)
        source = model if isinstance(model, str) else None
        asked = ModelArguments(
            model, self.head, labels, label_words, pointer, facts, freeze, dropout, dtype, tokenizer or source
        )
        self.language_model, self.start = build_language_model(
            asked, choices=self.num_choices, vocabulary=vocabulary, may_freeze_all=self.waits
        )
        own = {"head_lr_scale": head_lr_scale, "weight_decay": weight_decay, "temperature": temperature}
        self._arguments: dict[str, Any] = asked.plain(self.network.config) | own
        self.temperature = float(temperature)
        self.encoder = TextEncoder(self.language_model)
        self.check_length()
        warn_if_padding_is_read(self.network, self._longest, classifies_texts=self.head == "text_labels")
        checkpoint, width = None if source is None else model_path(source), self.network.config.hidden_size
        prompt = load_prompt(self.network.config, checkpoint)
        if prompt is not None:
            install(self, prompt)
        self.value_net = nn.Linear(width, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        self.wait_head = load_wait_head(width, checkpoint) if self.waits else None
        heads: list[nn.Module | nn.Parameter] = [self.value_net]
        if self.wait_head is not None:
            heads.append(self.wait_head)
        if self.head in CLASSIFIERS:
            heads += head_parameters(self.network).values()
        self.optimizer = GroupedAdamW(
            parameter_groups(self, heads, head_lr_scale=head_lr_scale, weight_decay=weight_decay),
            lr=lr_schedule(1.0),
        )

    def check_length(self, prompt: int = 0) -> None:
        """Raise ValueError if texts with a prompt of `prompt` tokens, or their parts, are too long for the model."""
        check_length(self.network, self._longest, prompt)

    @property
    def _longest(self) -> int:
        """Maximum number of sub-tokens that the model reads at once."""
        candidates = self.language_model.candidates
        return (None if candidates is None else candidates.longest) or self.max_length

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the frozen parameters."""
        return matching(self.network, self._arguments["freeze"])

    @property
    def tokenizer(self) -> str | None:
        """Source of the model's tokenizer: a folder, a hub id, `"tiny"`, or None if unknown."""
        source: str | None = self._arguments["tokenizer"]
        return source

    @property
    def labels(self) -> list[str] | None:
        """The names of the choices; None if they have none."""
        labels: list[str] | None = self._arguments["labels"]
        return None if labels is None or are_generic(labels) else labels

    def check_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Check that a tokenizer is the model's own, if that is known.

        Raises:
            ValueError: the tokenizers differ; the message names a token.
        """
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer, tokenizer.tokenizer.get_vocab(), tokenizer.source)

    def config_kwargs(self) -> dict[str, Any]:
        """Return `policy_kwargs` that rebuild this policy without its initial checkpoint."""
        return {"model": self.network.config.to_dict(), **self._arguments}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            **self.config_kwargs(),
        }

    def embeddings(self, observation: PyTorchObs) -> th.Tensor:
        """Return embeddings of the contexts and candidates of a batch, [B, n + 1, D], for `head="similarity"`.

        The policy is set to evaluation mode, and no gradients are computed.

        Raises:
            ValueError: the policy has another head.
        """
        self.set_training_mode(False)
        obs = _as_dict(self.obs_to_tensor(observation)[0])
        with th.inference_mode():
            return self.language_model.embeddings(obs["input_ids"].long(), obs["attention_mask"].long())

    # ------------------------------------------------------------------ Stable-Baselines3's interface

    def _predict(self, observation: PyTorchObs, deterministic: bool = False, action_masks: Any = None) -> th.Tensor:
        obs = _as_dict(observation)
        with self.encoder.uncounted():
            packed = self._decide(obs, action_masks)
        if self.distribution:
            lowest = float(self.action_space.low.min())  # type: ignore[attr-defined]
            return packed.unpack(packed.decided(lowest).clamp(min=lowest))
        return packed.choose(deterministic)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return actions, values [B, 1] and log-probabilities [B], summed over the positions of a text.

        Args:
            obs: the observation.
            deterministic: whether to take the most probable choices.
            action_masks: allowed choices, [B, n] or (`unit="sequence"`) [B, T · n]; None for the observation's mask.
        """
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        if self.distinct and isinstance(packed, AtCursors) and not deterministic:
            actions = packed.choose_distinct(self.distinct)
        else:
            actions = packed.choose(deterministic)
        if self.critic is not None and isinstance(packed, AtCursors):
            return actions, self.critic(packed, _as_dict(obs)), packed.log_prob(actions)
        return actions, self._text_values(packed), packed.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: th.Tensor, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Return values [B, 1], log-probabilities [B] and entropies [B], summed over the positions of a text."""
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        entropies = packed.total(entropy(packed.log_probs))
        return self._text_values(packed), packed.log_prob(actions.long()), entropies

    def get_distribution(self, obs: PyTorchObs, action_masks: Any = None) -> CategoricalDistribution:
        """Return the policy at the cursors as a Stable-Baselines3 distribution, twice differentiable for TRPO.

        Raises:
            ValueError: whole texts are decided at once.
        """
        self._refuse_distribution()
        if self.unit == "sequence":
            raise ValueError("a distribution over whole texts has no shape: make the environment with unit='token'")
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            packed = self._decide(_as_dict(obs), action_masks)
        logits = packed.unpack(packed.log_probs).clamp(min=_FORBIDDEN)  # -inf makes gradients of the KL NaN
        return CategoricalDistribution(self.num_choices).proba_distribution(logits)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """Return the critic's value of each observation, [B, 1]."""
        return self._text_values(self._decide(_as_dict(obs)))

    def _text_values(self, packed: Packed | AtCursors) -> th.Tensor:
        """Return the value of each row [B, 1]: at the cursor, or the mean over positions (unit="sequence")."""
        return packed.mean(self.values(packed))[:, None]

    def _refuse_distribution(self) -> None:
        if self.distribution:
            raise ValueError(
                'actions="distribution" has no sampled action for a policy gradient: make the environment with '
                'actions="token"'
            )

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Convert integer arrays to integer tensors, without one-hot encoding; add the batch dimension if missing."""
        return read_observation(observation, self.device)

    # ------------------------------------------------------------------ checkpoints

    def save_pretrained(self, folder: str | Path) -> None:
        """Write an ordinary Hugging Face checkpoint to `folder`: config with id2label, safetensors and tokenizer.

        A prompt is written to prompt.safetensors, which LMPolicy loads and other programs ignore.
        """
        self.network.save_pretrained(folder)
        if self.language_model.prompt is not None:
            save_prompt(self.language_model.prompt, folder)
        if self.wait_head is not None:
            save_wait_head(self.wait_head, folder)
        if self.tokenizer is not None:
            save_tokenizer(self.tokenizer, folder)
        if self.head == "label_words":
            Path(folder, "README.md").write_text(readme(self.network), encoding="utf-8")


def _as_dict(obs: PyTorchObs) -> TensorObservation:
    assert isinstance(obs, dict), "LMPolicy acts on lm_gym's Dict observations"
    return obs
