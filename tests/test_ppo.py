"""PPO on texts: Stable-Baselines3's own code, exact resumption, advantages, budgets."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv
from transformers import BertConfig, BertModel

from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.evaluation.playing import evaluate
from tests.small import SMALL, Stop, make_env, small, token_env, weights

G = 4
ROLLOUT = 16 * 4 * G  # steps of a rollout of the agents here


def build(env, **kwargs):
    given = {"seed": 3, "device": "cpu", "policy_kwargs": small(env), "learning_rate": 3e-3, "n_steps": 16}
    return PPO("LMPolicy", env, **{**given, "batch_size": 128, **kwargs})


def test_collect_rollouts_and_train_are_stable_baselines3s():
    assert PPO.collect_rollouts is stable_baselines3.PPO.collect_rollouts
    assert PPO.train is stable_baselines3.PPO.train


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"advantage": "leave_one_out", "gamma": 1.0},
        {"advantage": "gae", "n_epochs": 1, "ent_coef": 0.01},
        {"n_epochs": 3, "target_kl": 1e-4, "clip_range": 0.5, "normalize_advantage": True},
    ],
    ids=str,
)
def test_stop_save_load_and_go_on_equals_never_having_stopped(kwargs, ner, tmp_path):
    whole = build(token_env(ner), **kwargs).learn(5 * ROLLOUT)
    first = build(token_env(ner), **kwargs).learn(2 * ROLLOUT)
    first.save(tmp_path / "agent")
    assert (first.env.unwrapped.vector.episodes.decided > 0).any()  # in the middle of texts
    second = PPO.load(tmp_path / "agent", env=token_env(ner), device="cpu")
    assert th.equal(weights(first), weights(second))
    second.save(tmp_path / "again")  # before it has played, so that no steps are lost
    second = PPO.load(tmp_path / "again", env=token_env(ner), device="cpu")
    second.learn(3 * ROLLOUT, reset_num_timesteps=False)
    first.learn(3 * ROLLOUT, reset_num_timesteps=False)
    for model in (first, second):
        for name in ("num_timesteps", "_n_updates", "forward_passes", "backward_passes", "tokens"):
            assert getattr(model, name) == getattr(whole, name), name
        assert th.equal(weights(model), weights(whole))
    assert whole._n_updates > 2


def test_the_same_seed_gives_the_same_run_and_leaves_global_generators_alone(ner):
    th.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002  (the generator that Stable-Baselines3 would use)
    before, numpy_before = th.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, two = (weights(build(token_env(ner)).learn(ROLLOUT)) for _ in range(2))
    other = weights(build(token_env(ner), seed=4).learn(ROLLOUT))
    assert th.equal(one, two)
    assert not th.equal(one, other)
    assert th.equal(before, th.get_rng_state())
    assert numpy_before == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_budgets_count_texts_as_they_are_encoded(ner, monkeypatch):
    env = token_env(ner)
    encoded = []
    model = build(env, n_epochs=2)
    inner = model.policy.network.base_model.forward

    def forward(input_ids, attention_mask, **rest):
        encoded.append((len(input_ids), int(attention_mask.sum()), th.is_grad_enabled()))
        return inner(input_ids=input_ids, attention_mask=attention_mask, **rest)

    monkeypatch.setattr(type(model.policy.network.base_model), "forward", lambda self, **given: forward(**given))
    model.learn(2 * ROLLOUT)
    assert model.forward_passes == sum(count for count, _, _ in encoded)
    assert model.tokens == sum(tokens for _, tokens, _ in encoded)
    assert model.backward_passes == sum(count for count, _, gradient in encoded if gradient)
    texts = env.draws  # each text was encoded once for playing and twice for learning, and again if it was cut
    assert 3 * (texts - 4) <= model.forward_passes <= 3 * texts + 3 * 4 * 2
    assert model.timesteps_per_pass == G * env.positions_per_pass


def test_a_callback_stops_at_once(ner):
    model = build(token_env(ner)).learn(10**6, callback=Stop(5))
    assert model.num_timesteps == 5 * 4 * G
    assert model._n_updates == 0


def test_maximum_likelihood_does_not_collapse_and_the_critic_does(ner):
    scores = {}
    for advantage in ("maximum_likelihood", "gae"):
        env = token_env(ner, texts=8, group_size=8)
        model = build(env, advantage=advantage, n_steps=32, batch_size=1024, n_epochs=2).learn(60_000)
        scores[advantage] = evaluate(model.policy, make_env(ner, split="validation")).metrics
    assert scores["maximum_likelihood"]["entity_recall"] > 0.05
    assert scores["gae"]["entity_recall"] < 0.01


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ({"unit": "sequence", "group_size": 1}, {}, "unit='token'"),
        ({"reward": "f1"}, {"advantage": "maximum_likelihood"}, "as low as -1.0"),
        ({"group_size": 1}, {"advantage": "leave_one_out"}, "group_size=1 must be 2 or more"),
        ({}, {"advantage": "best"}, "unknown advantage='best'"),
    ],
)
def test_what_has_no_meaning_is_refused(ner, env, kwargs, message):
    made = make_env(ner, num_envs=8, **{"unit": "token", "group_size": 4, **env})
    with pytest.raises(ValueError, match=message):
        build(made, **kwargs)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ("maximum_likelihood", 0.0, 0.0)),
        ({"reward": "log_likelihood"}, ("maximum_likelihood", 0.0, 0.0)),
        ({"reward": "f1"}, ("leave_one_out", 1.0, 0.0)),
        ({"group_size": 1}, ("maximum_likelihood", 0.0, 0.0)),
        ({"group_size": 1, "reward": "f1"}, ("gae", 1.0, 0.5)),
    ],
    ids=str,
)
def test_auto_pairs_reward_and_estimator(ner, env, expected):
    model = build(token_env(ner, **env))
    assert (model.rollout_buffer.advantage, model.rollout_buffer.gamma, model.vf_coef) == expected


def test_rows_draw_different_choices_where_there_are_many_and_positions_pay_for_themselves(ner):
    for env, kwargs, expected in (
        ({}, {}, True),
        ({}, {"behaviour": "policy"}, False),
        ({"mask_actions": True}, {}, False),
        ({"dense": False}, {}, False),
    ):
        model = build(token_env(ner, "MaskedLM", **env), n_steps=1, **kwargs).learn(1)
        assert (model.policy.distinct, model.rollout_buffer.distinct) == (G * expected, expected), (env, kwargs)
    with pytest.raises(ValueError, match="behaviour='policy'"):
        build(token_env(ner, reward="f1"), behaviour="without_replacement")


def test_rows_draw_independently_over_a_new_vocabulary_head(ner, tmp_path):
    env = token_env(ner, "MaskedLM")
    BertModel(BertConfig(**small(env)["model"])).save_pretrained(tmp_path)  # without a head
    for behaviour, expected in (("auto", False), ("without_replacement", True)):
        with pytest.warns(UserWarning, match="no trained vocabulary head"):
            model = build(env, n_steps=1, policy_kwargs={"model": str(tmp_path)}, behaviour=behaviour)
        assert model.policy.start.weights == "fresh head"
        model.learn(1)
        assert (model.policy.distinct, model.rollout_buffer.distinct) == (G * expected, expected)


@pytest.mark.parametrize("reward", ["log_likelihood", "accuracy"])
def test_rows_by_themselves_are_compared_with_the_exact_mean(reward, ner):
    env = token_env(ner, "MaskedLM", texts=6, group_size=1, reward=reward, fill="sequential")
    model = build(env, n_steps=4)
    buffer = model.learn(24).rollout_buffer
    paid = np.exp(buffer.rewards) if reward == "log_likelihood" else buffer.rewards
    np.testing.assert_allclose(buffer.advantages, paid / np.exp(buffer.values) - 1, rtol=1e-3)
    obs = model.policy.obs_to_tensor(model.env.reset())[0]
    model.policy.set_training_mode(False)
    with th.no_grad():
        _, values, _ = model.policy(obs)
        probs = model.policy.step_log_probs(obs).exp()
    choices = np.arange(env.task.shape.choices)[:, None, None]
    asked = env.position_rewards(np.broadcast_to(choices, (len(choices), *env.targets.shape)))[..., 0].T
    paid = th.as_tensor(np.exp(asked) if reward == "log_likelihood" else asked)
    assert th.allclose(values.flatten().exp(), (probs * paid).sum(1), rtol=1e-3)


def test_environments_one_by_one(ner):
    one = {"dataset": ner, "reward": "accuracy"}
    env = DummyVecEnv([lambda: gymnasium.make("lm_gym/NER-v0", **one) for _ in range(4)])
    vocabulary = env.observation_space["input_ids"].high.max() + 1
    model = PPO("LMPolicy", env, n_steps=8, seed=0, policy_kwargs={"model": {**SMALL, "vocab_size": int(vocabulary)}})
    model.learn(64)
    assert model.num_timesteps == 64


def test_learning_from_steps_depends_on_the_seed_only(tmp_path):
    def build():
        env = gymnasium.make_vec(
            "lm_gym/Unmasking-v0", 4, unit="sequence", order="random", per_step=4, autoreset_mode="SameStep",
            reward="log_likelihood",
        )  # fmt: skip
        arguments = {"n_steps": 4, "batch_size": 4, "seed": 3, "device": "cpu", "policy_kwargs": small(env)}
        return PPO("LMPolicy", env, **arguments)

    whole = build().learn(32)
    np.random.seed(0)  # noqa: NPY002  # the global generator, which must not matter
    half = build().learn(16)
    half.save(tmp_path / "half.zip")
    np.random.seed(1)  # noqa: NPY002
    again = PPO.load(tmp_path / "half.zip", env=build().env, device="cpu").learn(16, reset_num_timesteps=False)
    assert not th.equal(weights(half), weights(whole))
    assert th.equal(weights(again), weights(whole))
