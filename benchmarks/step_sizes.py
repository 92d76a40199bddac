"""KL divergence from a trained model after steps of several sizes in each real search space.

    python benchmarks/step_sizes.py

The model is `tiny` on 16 validation texts of the builtin masked LM. The table shows means over 8 vectors σ · N(0, 1)
and all positions.
"""

from __future__ import annotations

import gymnasium
import torch as th

import lm_gym  # noqa: F401
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.spaces import SEARCH_SPACES

SIGMAS = (0.1, 0.3, 1.0, 3.0)


def main() -> None:
    th.set_num_threads(1)
    env = gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=16, unit="sequence", split="validation", max_length=64)
    observation, _ = env.reset(seed=0)
    print("| space | d | " + " | ".join(f"σ = {sigma}" for sigma in SIGMAS) + " |")
    print("|---|---:|" + "---:|" * len(SIGMAS))
    for name, kind in SEARCH_SPACES.items():
        policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0)
        obs, _ = policy.obs_to_tensor(observation)
        space = kind(policy)  # type: ignore[call-arg]
        if space.domain.kind != "real":
            continue
        policy.set_training_mode(False)
        with th.inference_mode():
            before = policy.positions(obs).log_probs
        divergences = []
        for sigma in SIGMAS:
            vectors = sigma * th.randn(8, space.domain.dim, generator=th.Generator().manual_seed(0))
            after = th.cat([said for _, said in space.evaluate(obs, Dense(vectors), 64)])
            divergences.append(float((before.exp() * (before - after)).sum(-1).mean()))
        print(f"| `{name}` | {space.domain.dim:,} | " + " | ".join(f"{d:.4f}" for d in divergences) + " |", flush=True)


if __name__ == "__main__":
    main()
