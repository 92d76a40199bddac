"""Observations as one Box, compared with a SyncVectorEnv of flat single environments."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lm_gym.compat.flat import FlatObservation, FlatVectorObservation, Layout
from tests.following import SEED, Following, Script

NER, MASKED = "lm_gym/NER-v0", "lm_gym/MaskedLM-v0"
OPTIONS = {"split": "validation"}


@pytest.mark.parametrize("id_", [NER, MASKED])
@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_rows_are_those_of_flat_single_environments(id_, mode):
    options = OPTIONS | {"mask_actions": True}
    native = FlatVectorObservation(gymnasium.make_vec(id_, num_envs=3, autoreset_mode=mode, **options))
    singles = [Following(gymnasium.make(id_, **options)) for _ in range(3)]
    sync = SyncVectorEnv([lambda one=one: FlatObservation(one) for one in singles], autoreset_mode=AutoresetMode[mode])
    assert native.observation_space == sync.observation_space
    assert native.single_observation_space == sync.single_observation_space
    first, _ = native.reset(seed=SEED)
    script = Script(native.unwrapped, singles)
    assert data_equivalence(first, sync.reset()[0], exact=True)
    native.action_space.seed(0)
    for _ in range(40):
        actions = native.action_space.sample()
        mine = native.step(actions)
        script.note(mine[4].get("_index", np.zeros(3, np.bool_)))
        theirs = sync.step(actions)
        assert data_equivalence(mine[0], theirs[0], exact=True)
        assert ("final_obs" in mine[4]) is ("final_obs" in theirs[4])
        if "final_obs" in mine[4]:
            for one, other in zip(mine[4]["final_obs"], theirs[4]["final_obs"], strict=True):
                assert (one is None and other is None) or (one == other).all()


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_what_is_joined_comes_apart_exactly(unit):
    bare = gymnasium.make_vec(MASKED, num_envs=5, unit=unit, **OPTIONS)
    observation, _ = bare.reset(seed=1)
    layout = Layout(bare.single_observation_space)
    flat = layout.join(observation)
    assert flat.dtype == np.float32
    assert flat.shape == (5, *layout.space.shape)
    for parts in (layout.split(flat), layout.split(torch.as_tensor(flat))):
        assert parts.keys() == observation.keys()
        assert all((np.asarray(parts[key]) == leaf).all() for key, leaf in observation.items())
    single = FlatObservation(gymnasium.make(MASKED, unit=unit, **OPTIONS))
    assert single.reset(seed=1)[0] in single.observation_space == layout.space


def test_what_float32_cannot_hold_is_refused():
    big = gymnasium.spaces.Dict({"ids": gymnasium.spaces.Box(0, 2**24 + 1, (2,), np.int64)})
    with pytest.raises(ValueError, match=r"ids is .* up to 16,777,216"):
        Layout(big)
    with pytest.raises(ValueError, match="must be a Dict"):
        FlatObservation(gymnasium.make("CartPole-v1"))
