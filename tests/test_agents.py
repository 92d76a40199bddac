"""REINFORCE and its twin through Stable-Baselines3's interface, on small pieces of the builtin data."""

import json
from shutil import copytree

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from transformers import pipeline

from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.schedules import LearningRate
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.evaluation.playing import baselines, evaluate
from lm_gym.builtin import tiny_path
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from lm_gym.data import Dataset, load_dataset
from lm_gym.tasks import Prediction
from lm_gym.tasks.words import majority_label
from tests.small import Stop, few_names, small


@pytest.fixture(scope="session")
def ner():
    return few_names(96)


def make_env(dataset, task="NER", num_envs=8, **kwargs):
    kwargs = {"unit": "sequence", "reward": "accuracy", "autoreset_mode": "SameStep", "max_length": 128, **kwargs}
    return gymnasium.make_vec(f"lm_gym/{task}-v0", num_envs=num_envs, dataset=dataset, **kwargs)


def build(algorithm, env, **kwargs):
    kwargs = {"seed": 3, "device": "cpu", "policy_kwargs": small(env), "learning_rate": 3e-3, **kwargs}
    return algorithm("LMPolicy", env, **kwargs)


def weights(model):
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


def perfect(batch):
    return Prediction(batch.targets, None)


def tagged_texts(played):
    """Return (word, gold, predicted) for every word, text by text."""
    lines = (played.task.format_prediction(text).splitlines() for text in played)
    return [[tuple(line.split(" ")) for line in text if line] for text in lines]


VARIANTS = [
    (Supervised, {}),
    (REINFORCE, {"samples": 4}),
    (REINFORCE, {"samples": 4, "behaviour": "without_replacement"}),
    (REINFORCE, {"samples": 4, "behaviour": "mixture"}),
    (REINFORCE, {"samples": 3, "advantage": "normalized", "baseline": "value", "gamma": 0.9}),
    (REINFORCE, {"samples": 1, "advantage": "plain", "baseline": "moving_average"}),
    (REINFORCE, {"samples": 4, "behaviour": "reference", "baseline": "group_mean"}),
    (REINFORCE, {"samples": 2, "advantage": "plain", "baseline": "counterfactual", "gamma": 1.0}),
    (REINFORCE, {"samples": "all"}),
    (REINFORCE, {"samples": 4, "autocast": True}),
    (Supervised, {"autocast": True}),
    (REINFORCE, {"samples": 2, "kl_coef": 0.1, "entropy_coef": 0.01, "supervised_coef": 0.5}),
]


def test_every_algorithm_is_in_the_variants():
    gradient_based = {kind for kind in ALGORITHMS.values() if issubclass(kind, GradientAlgorithm)}
    assert {algorithm for algorithm, _ in VARIANTS} == gradient_based


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS)
def test_stop_save_load_and_go_on_equals_never_having_stopped(algorithm, kwargs, ner, tmp_path):
    whole = build(algorithm, make_env(ner), **kwargs).learn(2000)
    first = build(algorithm, make_env(ner), **kwargs).learn(900)
    first.save(tmp_path / "agent")
    second = algorithm.load(tmp_path / "agent", env=make_env(ner), device="cpu")
    assert th.equal(weights(first), weights(second))
    second.learn(2000 - second.num_timesteps, reset_num_timesteps=False)
    for name in ("num_timesteps", "_n_updates", "forward_passes", "backward_passes", "tokens"):
        assert getattr(second, name) == getattr(whole, name), name
    assert th.equal(weights(second), weights(whole))
    assert whole._n_updates > first._n_updates > 0


def test_roformer_goes_on_as_if_it_had_never_stopped(ner, tmp_path):
    """RoFormer's position table is not in the checkpoints of transformers."""
    env = make_env(ner)
    model = {**small(env)["model"], "model_type": "roformer", "embedding_size": 16}
    given = {"samples": 4, "policy_kwargs": {"model": model}}
    whole = build(REINFORCE, env, **given).learn(2000)
    build(REINFORCE, make_env(ner), **given).learn(900).save(tmp_path / "agent")
    second = REINFORCE.load(tmp_path / "agent", env=make_env(ner), device="cpu")
    second.learn(2000 - second.num_timesteps, reset_num_timesteps=False)
    assert th.equal(weights(second), weights(whole))
    obs, _ = make_env(ner, split="validation").reset(seed=0)
    both = [model.policy.predict(obs, deterministic=True)[0] for model in (second, whole)]
    assert (both[0] == both[1]).all()


@pytest.mark.parametrize("tags", [["O", "B-LOC", "B-ORG"], ["O", "B-PER", "B-LOC"]])
def test_an_agent_refuses_as_many_other_tags(tags, tmp_path):
    """This holds for other names and another order, in `set_env`, in `load` and in `evaluate`."""

    def env(names):
        texts = [(["Ann", "saw", "Oslo"], [names[1], "O", names[2]])]
        more = [(["It", "rained"], ["O", "O"])]
        return make_env(Dataset.from_sentences("texts", texts, more).with_tag_names(names), num_envs=1)

    own = ["O", "B-LOC", "B-PER"]
    agent = build(REINFORCE, env(own), samples=2).learn(6)
    agent.save(tmp_path / "agent")
    message = f"the agent has the labels {', '.join(own)}, but lm_gym/NER-v0 has {', '.join(tags)}: use the data that"
    for go_on in (
        agent.set_env,
        lambda env: REINFORCE.load(tmp_path / "agent", env=env, device="cpu"),
        lambda env: evaluate(agent.policy, env),
    ):
        with pytest.raises(ValueError, match=message):
            go_on(env(tags))
        go_on(env(own))


def test_evaluate_refuses_a_text_that_is_not_there(ner):
    env = make_env(ner)
    with pytest.raises(ValueError, match=f"texts has indices 0 to 999, but the texts are 0 to {env.num_texts - 1}"):
        evaluate(build(REINFORCE, env).policy, env, texts=[0, 999])


def test_the_same_seed_gives_the_same_run_and_leaves_global_generators_alone(ner):
    th.manual_seed(11)
    before = th.get_rng_state()
    one, two = (weights(build(REINFORCE, make_env(ner), samples=2).learn(500)) for _ in range(2))
    other = weights(build(REINFORCE, make_env(ner), samples=2, seed=4).learn(500))
    assert th.equal(one, two)
    assert not th.equal(one, other)
    assert th.equal(before, th.get_rng_state())


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS[:2])
def test_a_callback_stops_at_once(algorithm, kwargs, ner):
    model = build(algorithm, make_env(ner), **kwargs).learn(10**6, callback=Stop(3))
    assert model._n_updates == 3


def test_a_stopped_run_goes_on_where_it_was(ner):
    stopped = build(Supervised, make_env(ner)).learn(10**6, callback=Stop(3))
    stopped.learn(10**6, callback=Stop(3), reset_num_timesteps=False)
    straight = build(Supervised, make_env(ner)).learn(10**6, callback=Stop(6))
    assert th.equal(weights(stopped), weights(straight))


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS[:2])
def test_stable_baselines3_callbacks_evaluation_and_env_setting(algorithm, kwargs, ner, tmp_path):
    model = build(algorithm, make_env(ner), **kwargs)
    evaluation = VecEnvAdapter(make_env(ner, split="validation"))
    callback = EvalCallback(evaluation, n_eval_episodes=16, eval_freq=2, log_path=str(tmp_path), verbose=0)
    model.learn(600, callback=callback, progress_bar=True)
    assert len(callback.evaluations_results) >= 1
    mean, deviation = evaluate_policy(model, evaluation, n_eval_episodes=20)
    assert 0 <= mean <= 64
    assert deviation >= 0
    model.set_env(make_env(ner))
    model.learn(200, reset_num_timesteps=False)
    single = DummyVecEnv([lambda: gymnasium.make("lm_gym/NER-v0", dataset=ner, unit="sequence", max_length=128)])
    assert np.isfinite(evaluate_policy(model, single, n_eval_episodes=3, warn=False)[0])


def test_environments_one_by_one_give_what_a_native_one_gives(ner):
    def single():
        return gymnasium.make("lm_gym/NER-v0", dataset=ner, unit="sequence", reward="accuracy", max_length=128)

    model = build(REINFORCE, make_env(ner, num_envs=1), samples=2)
    one = REINFORCE("LMPolicy", single(), 3e-3, seed=3, device="cpu", samples=2, policy_kwargs=model.policy_kwargs)
    assert th.equal(weights(model.learn(200)), weights(one.learn(200)))
    two = REINFORCE(
        "LMPolicy", DummyVecEnv([single, single]), samples=2, policy_kwargs=model.policy_kwargs, device="cpu"
    )
    assert two.learn(100).num_timesteps >= 100


def test_the_twin_learns_and_beats_the_baselines(ner):
    env = make_env(ner)
    evaluation = make_env(ner, split="train")
    model = build(Supervised, env, learning_rate=1e-2).learn(40 * env.unwrapped.positions_per_pass)
    rows = baselines(evaluation)
    found = evaluate(model.policy, evaluation).metrics
    assert found["entity_f1"] > 0.5 > rows["random"]["entity_f1"]
    assert found["cross_entropy"] < rows["random"]["cross_entropy"]


@pytest.mark.parametrize("samples", [4, 8, 16])
def test_maximum_likelihood_does_not_collapse(ner, samples):
    model = build(REINFORCE, make_env(ner), samples=samples, learning_rate=1e-2)
    model.learn(40 * model.timesteps_per_pass)
    assert evaluate(model.policy, make_env(ner, split="train")).metrics["entity_f1"] > 0.4


def test_evaluation_plays_every_text_once_in_order(ner):
    env = make_env(ner, split="validation", num_envs=7, reward="f1")
    corpus = ner["validation"]
    result = evaluate(perfect, env)
    assert result.metrics["entity_f1"] == 1.0
    assert result.metrics["mean_reward"] == pytest.approx(1.0)
    texts = list(tagged_texts(result))
    assert len(texts) == len(corpus)
    assert [[word for word, _, _ in text] for text in texts] == [corpus.text(i) for i in range(len(corpus))]
    assert all(gold == predicted for text in texts for _, gold, predicted in text)
    assert len(evaluate(majority_label(env.task), env, texts=10).texts) == 10


def test_evaluations_decide_whole_texts(ner):
    env = make_env(ner, unit="token")
    with pytest.raises(
        ValueError, match="an evaluation decides whole texts: make the environment with unit='sequence'"
    ):
        evaluate(majority_label(env.task), env)


def test_predictions_have_three_columns_whatever_the_words(tmp_path):
    words = ["#1", "New Kelp", "a\nb", "\u3000c", "d\u2028e", "f\r"]
    data = Dataset.from_sentences("blanks", [(words, ["O", "B-LOC", "I-LOC", "O", "B-PER", "O"]), (["g"], ["B-PER"])])
    result = evaluate(perfect, make_env(data, split="train", num_envs=1))
    (tmp_path / "test.conll").write_text("".join(map(result.task.format_prediction, result)), encoding="utf-8")
    again = load_dataset(tmp_path / "test.conll")["test"]
    assert [again.text(i) for i in range(2)] == [["#1", "New_Kelp", "a_b", "_c", "d_e", "f_"], ["g"]]
    assert [again.tags_of(i) for i in range(2)] == [data["train"].tags_of(i) for i in range(2)]


def test_words_cut_off_count_as_missed(ner):
    with pytest.warns(UserWarning, match="max_length=8 cuts"):
        env = make_env(ner, split="validation", max_length=8)
    assert env.unwrapped.cut.positions > 0
    result = evaluate(perfect, env)
    report = result.reports["entity"]
    for text, kept in zip(tagged_texts(result), np.diff(result.offsets), strict=True):
        assert {predicted for _, _, predicted in text[kept:]} <= {"O"}
        assert all(gold == predicted for _, gold, predicted in text[:kept])
    whole = make_env(ner, split="validation")
    full = evaluate(perfect, whole).reports["entity"]
    assert report.micro.support == full.micro.support
    assert report.micro.recall < 1.0 == full.micro.recall


def test_majority_row_by_hand():
    train = [(["Ann", "runs"], ["B-PER", "O"]), (["Ann", "Bo"], ["O", "B-PER"]), (["Ann"], ["B-PER"])]
    data = Dataset.from_sentences("hand", train, None, [(["Ann", "met", "Bo"], ["B-PER", "O", "O"])])
    result = evaluate(majority_label(make_env(data, split="test").task), make_env(data, split="test", num_envs=2))
    assert result.metrics["entity_precision"] == 0.5
    assert result.metrics["entity_recall"] == 1.0


def test_token_classification_pipeline_agrees(ner, tmp_path):
    env = make_env(ner)
    model = Supervised("LMPolicy", env, 2e-3, seed=0, device="cpu").learn(4 * env.unwrapped.positions_per_pass)
    model.policy.save_pretrained(tmp_path)
    tagger = pipeline("token-classification", str(tmp_path), device="cpu")
    result = evaluate(model.policy, make_env(ner, split="validation"))
    compared = 0
    for text in list(tagged_texts(result))[:20]:
        words = [word for word, _, _ in text]
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        theirs = {entry["start"]: entry["entity"] for entry in tagger(" ".join(words))}
        for start, (_, _, predicted) in zip(starts, text, strict=True):
            assert theirs.get(int(start), "O") == predicted
            compared += predicted != "O"
    assert compared > 0


def test_fill_mask_pipeline_agrees(tmp_path):
    env = make_env("builtin/masked_lm", "MaskedLM", split="validation")
    model = Supervised("LMPolicy", make_env("builtin/masked_lm", "MaskedLM"), 1e-4, device="cpu", seed=0).learn(300)
    model.policy.save_pretrained(tmp_path)
    filler = pipeline("fill-mask", str(tmp_path), device="cpu", top_k=1)
    obs, _ = env.reset(options={"indices": np.arange(8)})
    choices, _ = model.predict(obs, deterministic=True)
    tokenizer = env.unwrapped.task.tokenizer
    for row in range(8):
        ids = obs["input_ids"][row][obs["attention_mask"][row].astype(bool)]
        assert filler.tokenizer.convert_tokens_to_ids(filler.tokenizer.mask_token) == tokenizer.mask
        text = filler.tokenizer.decode(ids[1:-1])
        if filler.tokenizer(text)["input_ids"] != ids.tolist():
            continue  # decoding joins words that are separate in the corpus
        found = filler(text)
        found = found if isinstance(found[0], list) else [found]
        count = int(obs["position_mask"][row].sum())
        assert [entries[0]["token"] for entries in found] == choices[row, :count].tolist()
        break
    else:
        pytest.fail("no text survived decoding")


def test_kl_to_the_reference_holds_the_policy_back(ner):
    free, held = (build(REINFORCE, make_env(ner), samples=4, kl_coef=kl) for kl in (0.0, 10.0))
    start = weights(build(REINFORCE, make_env(ner), samples=4))
    moved = [float((weights(model.learn(3000)) - start).norm()) for model in (free, held)]
    probabilities = [evaluate(model.policy, make_env(ner)).metrics["cross_entropy"] for model in (free, held)]
    assert probabilities[0] < probabilities[1]
    assert all(distance > 0 for distance in moved)


def test_the_supervised_loss_beside_the_policy_gradient_s(ner):
    """If every reward is 0, there is no policy gradient; only the twin's gradient remains, scaled by clipping."""
    given = {"max_grad_norm": 1e-3, "learning_rate": 1e-3}
    nothing = make_env(ner, reward=lambda choices, targets, mask: np.zeros(choices.shape, np.float32))
    mixed = build(REINFORCE, nothing, samples=4, supervised_coef=10.0, **given)
    twin = build(Supervised, make_env(ner), **given)
    start = weights(twin)
    for model in (mixed, twin):
        model.learn(model.timesteps_per_pass)
    assert mixed._n_updates == twin._n_updates
    assert th.allclose(weights(mixed) - start, weights(twin) - start, atol=1e-5)
    assert float((weights(twin) - start).abs().max()) > 1e-3


def test_a_second_run_goes_on_where_the_rate_of_the_first_ended():
    whole = LearningRate(0.1, "linear", warmup=0.2)
    first = LearningRate(0.1, "linear", warmup=0.4, end_factor=0.625)
    second = LearningRate(0.0625, "linear")
    done = np.linspace(0, 1, 21)
    found = [first(1 - 2 * d) if d < 0.5 else second(2 - 2 * d) for d in done]
    assert found == pytest.approx([whole(1 - d) for d in done])
    assert first(0.0) == pytest.approx(0.0625)


def test_a_cosine_decay_after_the_warmup():
    rate = LearningRate(0.1, "cosine", warmup=0.2, end_factor=0.1)
    found = [rate(1 - done) for done in (0.1, 0.2, 0.4, 0.6, 1.0)]
    quarter = (1 + np.cos(np.pi / 4)) / 2  # remains of the rate after a quarter of the decay
    assert found == pytest.approx([0.05, 0.1, 0.1 * (0.1 + 0.9 * quarter), 0.055, 0.01])


@pytest.mark.parametrize("name", ["kl_coef", "supervised_coef"])
def test_weights_of_terms_that_make_no_sense_are_refused(name, ner):
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        build(REINFORCE, make_env(ner), **{name: -0.1})
    with pytest.raises(ValueError, match=f"{name}=0.1 needs texts that are decided as a whole"):
        build(REINFORCE, make_env(ner, unit="token"), **{name: 0.1})


def test_reinforce_plays_other_environments():
    model = REINFORCE("MlpPolicy", gymnasium.make("CartPole-v1"), 3e-3, seed=0, device="cpu")
    before = evaluate_policy(model, model.get_env(), 20, deterministic=False)[0]
    model.learn(15_000)
    assert evaluate_policy(model, model.get_env(), 20, deterministic=False)[0] > 100 > before


def test_reinforce_plays_token_by_token(ner):
    env = make_env(ner, unit="token")
    model = build(REINFORCE, env)
    model.learn(300)
    assert model.num_timesteps >= 300
    assert model._n_updates > 0
    assert model.backward_passes == 8 * model._n_updates  # texts, not steps
    assert model.forward_passes == 2 * model.backward_passes


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ({"reward": "f1"}, {"advantage": "maximum_likelihood"}, "maximum_likelihood.*'f1'"),
        ({"reward": "f1"}, {"behaviour": "mixture"}, "behaviour='policy'"),
        ({"actions": "distribution", "reward": "log_likelihood"}, {}, "actions='token'"),
        ({"unit": "token"}, {"baseline": "leave_one_out"}, "unit='sequence'"),
        ({}, {"gamma": 1.5}, r"gamma must be in \[0, 1\]"),
        ({}, {"exploration": 2.0, "behaviour": "mixture"}, "exploration"),
        ({}, {"baseline": "best"}, "leave_one_out"),
        ({}, {"schedule": "square"}, "constant, cosine, linear"),
        ({}, {"warmup": 1.0}, "warmup"),
        ({}, {"schedule": "linear", "end_factor": 1.5}, r"end_factor must be in \[0, 1\]"),
        ({}, {"end_factor": 0.5}, "schedule='linear'"),
        ({}, {"learning_rate": -1.0}, "learning_rate must be at least 0"),
    ],
)
def test_what_has_no_meaning_is_refused(ner, env, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(REINFORCE, make_env(ner, **env), **kwargs)


def test_the_twin_needs_whole_texts(ner):
    with pytest.raises(ValueError, match="unit='sequence'"):
        build(Supervised, make_env(ner, unit="token"))


def test_an_agent_without_environment_says_what_to_do(ner, tmp_path):
    build(Supervised, make_env(ner)).save(tmp_path / "agent")
    model = Supervised.load(tmp_path / "agent", device="cpu")
    obs, _ = make_env(ner).reset(seed=0)
    assert model.predict(obs, deterministic=True)[0].shape == obs["positions"].shape
    with pytest.raises(ValueError, match="set_env"):
        model.learn(10)


def test_another_tokenizer_of_the_same_size_is_refused(ner, tmp_path):
    copytree(tiny_path(), tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["the"], vocabulary["and"] = vocabulary["and"], vocabulary["the"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"token '(the|and)' is"):
        Supervised("LMPolicy", make_env(ner), policy_kwargs={"model": str(tmp_path / "model")}, device="cpu")


def test_a_diverging_run_stops_with_a_reason(ner):
    model = build(Supervised, make_env(ner))
    with th.no_grad():
        next(model.policy.network.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="learning_rate"):
        model.learn(100)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values())
@pytest.mark.parametrize(
    ("name", "meant"), [("policy_kwarg", "policy_kwargs"), ("sed", "seed"), ("Verbose", "verbose")]
)
def test_a_misspelt_argument_is_refused_with_the_nearest_name(algorithm, name, meant):
    expected = f"^{algorithm.__name__} has no argument '{name}' \\(did you mean '{meant}'\\?\\)$"
    with pytest.raises(TypeError, match=expected):
        algorithm("LMPolicy", "lm_gym/NER-v0", **{name: 1})


def test_the_arguments_of_an_algorithm_include_those_of_its_bases():
    with pytest.raises(TypeError, match=r"no argument 'advantge' \(did you mean 'advantage'\?\)"):
        REINFORCE("LMPolicy", advantge="plain")
    with pytest.raises(TypeError, match=r"no argument 'warmpu' \(did you mean 'warmup'\?\)"):
        REINFORCE("LMPolicy", warmpu=0.1)
