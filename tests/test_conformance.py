"""Every case in `tests.cases` satisfies the contracts of Gymnasium, Stable-Baselines3 and lm-gym."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

from lm_gym.testing import check_text_env
from tests.cases import CASES, IDS, MODES, REFUSED, dataset, single, vector
from tests.following import SEED, Following, Script

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*max_length=24 cuts"),
    pytest.mark.filterwarnings("ignore:.*BM25 does not find the right reply"),
    pytest.mark.filterwarnings("ignore:.*For Box action spaces, we recommend"),  # no bound fits log-probabilities
]


@pytest.mark.parametrize(("id_", "options"), CASES)
def test_gymnasium_and_stable_baselines3_check(id_, options):
    check_env(single(id_, options).unwrapped, skip_render_check="render_mode" not in options)
    check_env_of_sb3(single(id_, options), warn=False)


@pytest.mark.parametrize(("id_", "options"), CASES)
def test_contract(id_, options):
    """Spaces, padding, determinism by seed, sharing, rewards, indices, draws, pickling."""
    check_text_env(single(id_, options), 8)
    for mode in MODES:
        check_text_env(vector(id_, options, 3, mode), 8)


@pytest.mark.parametrize(("id_", "options"), REFUSED)
def test_what_contradicts_is_refused(id_, options):
    with pytest.raises(
        ValueError,
        match=r"sequential|mask_actions|reward '\w+' needs|at the cursor|needs the policy|(candidates|labels) need",
    ):
        single(id_, options)


@pytest.mark.parametrize(("id_", "options"), CASES)
def test_the_specification_goes_through_json(id_, options):
    made = gymnasium.make(id_, **options)
    again = gymnasium.make(EnvSpec.from_json(made.spec.to_json()))
    assert again.unwrapped.vector.settings == made.unwrapped.vector.settings
    assert again.spec == made.spec


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("id_", "options"), CASES)
def test_native_rows_are_single_environments(id_, options, mode):
    """Every array and info is the same at every step, across episode ends."""
    if options.get("sampling") == "bucketed":
        return  # buckets are as wide as the batch, so rows of three and of one play different texts
    native = vector(id_, options, 3, mode)
    singles = [Following(single(id_, options)) for _ in range(3)]
    sync = SyncVectorEnv([lambda one=one: one for one in singles], autoreset_mode=AutoresetMode[mode])
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    mine = native.reset(seed=SEED)
    script = Script(native, singles)
    assert_same(mine, sync.reset())
    rng, ends = np.random.default_rng(0), 0
    while ends < 20:
        actions = random_actions(native, rng)
        mine = native.step(actions)
        script.note(mine[4].get("_index", np.zeros(3, np.bool_)))
        assert_same(mine, sync.step(actions))
        ended = mine[2] | mine[3]
        ends += int(ended.sum())
        if mode == "DISABLED" and ended.any():
            mine = native.reset(options={"reset_mask": ended})
            script.note(ended)
            assert_same(mine, sync.reset(options={"reset_mask": ended}))


def random_actions(env, rng):
    """Return random actions for every row."""
    space = env.action_space
    if env.settings.actions == "distribution":
        return rng.normal(size=space.shape).astype(np.float32)
    return rng.integers(0, env.task.shape.choices, space.shape)


def assert_same(mine, theirs):
    """Return the whole result of a step or a reset.

    Three things differ by intent: texts are spelled by single environments, or where they are rendered, only; what a
    text was paid stays where it is in SAME_STEP, beside its copy in `final_info`; and a text that ends with the last
    step allowed isn't truncated (Gymnasium's TimeLimit says both).
    """
    *arrays, info = mine
    *their_arrays, their_info = theirs
    if len(their_arrays) == 4:
        their_arrays[3] = their_arrays[3] & ~their_arrays[2]
    info = dict(info)
    if "final_info" in info:
        ended, their_info = info["_final_info"], dict(their_info)
        for key in [key for key in info if key.strip("_") in ("position_rewards", "reward_terms", "decided")]:
            mine_here, theirs_here = info.pop(key), their_info.pop(key, None)
            if isinstance(mine_here, np.ndarray):
                assert data_equivalence(mine_here[ended], info["final_info"][key][ended])
                assert theirs_here is None or data_equivalence(mine_here[~ended], theirs_here[~ended])
    for one, other in zip(arrays, their_arrays, strict=True):
        if isinstance(one, dict):
            assert data_equivalence(one, other, exact=True)
        else:
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, atol=1e-6)
    without = {key: value for key, value in their_info.items() if key not in ("text", "_text")}
    assert without.keys() == info.keys() - {"text", "_text"}
    for key, value in without.items():
        assert data_equivalence(info[key], value), key


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("unit", ["token", "sequence"])
@pytest.mark.parametrize("id_", IDS)
def test_processes_give_what_one_process_gives(id_, unit, mode):
    makers = [lambda: gymnasium.make(id_, dataset=dataset(id_), unit=unit)] * 2
    ours, theirs = (kind(makers, autoreset_mode=AutoresetMode[mode]) for kind in (AsyncVectorEnv, SyncVectorEnv))
    try:
        assert data_equivalence(ours.reset(seed=1), theirs.reset(seed=1))
        theirs.action_space.seed(0)
        for _ in range(12):
            actions = theirs.action_space.sample()
            assert data_equivalence(ours.step(actions), theirs.step(actions))
    finally:
        ours.close()
