"""What REINFORCE and its twin refuse: arguments without a meaning, other labels and tokenizers, NaN."""

import json
from shutil import copytree

import pytest
import torch as th

from lm_gym.agents import evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.builtin import tiny_path
from lm_gym.data import Dataset
from tests.small import build_learner, make_env


@pytest.mark.parametrize("tags", [["O", "B-LOC", "B-ORG"], ["O", "B-PER", "B-LOC"]])
def test_an_agent_refuses_as_many_other_tags(tags, tmp_path):
    """This holds for other names and another order, in `set_env`, in `load` and in `evaluate`."""

    def env(names):
        texts = [(["Ann", "saw", "Oslo"], [names[1], "O", names[2]])]
        more = [(["It", "rained"], ["O", "O"])]
        return make_env(Dataset.from_sentences("texts", texts, more).with_tag_names(names), num_envs=1)

    own = ["O", "B-LOC", "B-PER"]
    agent = build_learner(REINFORCE, env(own), samples=2).learn(6)
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
        evaluate(build_learner(REINFORCE, env).policy, env, texts=[0, 999])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda agent: agent.learn(-1), "total_timesteps must be at least 0, got -1"),
        (lambda agent: agent.learn(float("nan")), "total_timesteps must be finite, got nan"),
        (lambda agent: evaluate(agent.policy, agent.env.unwrapped.vector, texts=0), "texts must be at least 1, got 0"),
        (lambda agent: REINFORCE("LMPolicy", None), "env=None: give an environment"),
        (
            lambda agent: REINFORCE("LMPolicy", agent.env, policy_kwargs={"modl": "tiny"}),
            "policy_kwargs: LMPolicy has no argument 'modl'.*did you mean 'model'",
        ),
    ],
)
def test_meaningless_uses_are_refused(use, message, ner):
    agent = build_learner(REINFORCE, make_env(ner))
    with pytest.raises(ValueError, match=message):
        use(agent)


@pytest.mark.parametrize("name", ["kl_coef", "supervised_coef"])
def test_weights_of_terms_that_make_no_sense_are_refused(name, ner):
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        build_learner(REINFORCE, make_env(ner), **{name: -0.1})
    with pytest.raises(ValueError, match=f"{name}=0.1 needs texts that are decided as a whole"):
        build_learner(REINFORCE, make_env(ner, unit="token"), **{name: 0.1})


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
        build_learner(REINFORCE, make_env(ner, **env), **kwargs)


def test_the_twin_needs_whole_texts(ner):
    with pytest.raises(ValueError, match="unit='sequence'"):
        build_learner(Supervised, make_env(ner, unit="token"))


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
    model = build_learner(Supervised, make_env(ner))
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
