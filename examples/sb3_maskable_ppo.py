"""sb3-contrib's MaskablePPO, which never tries tags that are invalid in IOB2.

python -m examples.sb3_maskable_ppo
"""

import gymnasium
from sb3_contrib import MaskablePPO

from examples.sb3_ppo import WindowExtractor
from examples.tagging import ENV, judge
from lm_gym.compat.stable_baselines3 import VecEnvAdapter

if __name__ == "__main__":
    env = VecEnvAdapter(gymnasium.make_vec(**ENV, num_envs=64, autoreset_mode="DISABLED", mask_actions=True))
    model = MaskablePPO(
        "MultiInputPolicy",
        env,  # MaskablePPO calls its action_masks(); no wrapper is needed
        policy_kwargs={"features_extractor_class": WindowExtractor, "net_arch": []},
        n_steps=32,
        batch_size=512,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.5,
        gae_lambda=0.9,
        ent_coef=0.01,
        seed=0,
        device="cpu",
    )
    model.learn(100_000)
    judge(
        "sb3-contrib, MaskablePPO",
        lambda observation: model.predict(observation, deterministic=True, action_masks=observation["action_mask"])[0],
        mask_actions=True,
    )
