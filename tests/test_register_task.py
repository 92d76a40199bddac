"""Registering a user's own task: errors, and the environments that follow from it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs.registration import registry

import lm_gym
from lm_gym.agents import REINFORCE
from lm_gym.tasks import Nouns

ROOT = Path(__file__).parents[1]
WORDS = [["a", "bb", "ccc"], ["dddd", "e"], ["ff", "ggg", "h", "iiii"]]


def lengths(words: list[str]) -> tuple[list[str], list[int]]:
    return words, [len(word) % 2 for word in words]


def task(env_id: object = "Parity-v0", name: object = "parity", labels=("even", "odd"), **members) -> type[lm_gym.Task]:
    """A task: has a word an even number of letters?"""

    class Parity(lm_gym.WordLabels):
        """Label words as even or odd."""

        nouns = Nouns("word", "words", "parity", "parities")

        @classmethod
        def prepare(cls, dataset, options):
            return dataset.with_word_labels(lengths, labels)

    for member, value in {"env_id": env_id, "name": name, "fields": (lm_gym.data.fields.WORDS,), **members}.items():
        setattr(Parity, member, value)
    return Parity


def data() -> lm_gym.Dataset:
    return lm_gym.Dataset.from_sentences("words", WORDS)


@pytest.fixture(autouse=True)
def forgotten():
    """Unregister the tasks of a test when it ends."""
    tasks, metrics, ids = dict(lm_gym.TASKS), dict(lm_gym.METRICS), set(registry)
    yield
    for table, kept in ((lm_gym.TASKS, tasks), (lm_gym.METRICS, metrics)):
        table.clear()
        table.update(kept)
    for id_ in set(registry) - ids:
        del registry[id_]


@dataclass
class Thawed:
    """Options that are not frozen."""


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"name": "ner"}, ValueError, "task 'ner' is taken"),
        ({"name": None}, TypeError, "does not define name"),
        ({"env_id": 5}, TypeError, "does not define env_id"),
        ({"env_id": "Parity"}, ValueError, "give a name with a version, such as 'MyTask-v0'"),
        ({"env_id": "mine:Parity-v0"}, ValueError, "give a name with a version"),
        ({"env_id": "CartPole-v1"}, ValueError, "'CartPole-v1' of Parity is taken by gymnasium"),
        ({"env_id": "mine/NER-v0"}, ValueError, "too similar to 'lm_gym/NER-v0' of task 'ner': both would have"),
        ({"metrics": ()}, TypeError, "give one Metric or more"),
        ({"metrics": ("accuracy",)}, TypeError, "give one Metric or more"),
        ({"metrics": (lm_gym.Metric("entity_f1", "mine"),)}, ValueError, "metric 'entity_f1' of Parity is taken"),
        ({"Options": Thawed}, TypeError, "give a frozen dataclass"),
    ],
)
def test_what_is_no_task_of_its_own_is_refused_and_leaves_nothing(members, error, message):
    before = dict(lm_gym.TASKS), dict(lm_gym.METRICS), set(registry)
    with pytest.raises(error, match=message):
        lm_gym.register_task(task(**members))
    assert (dict(lm_gym.TASKS), dict(lm_gym.METRICS), set(registry)) == before


def test_a_task_that_is_defined_again_takes_the_place_of_the_first():
    metric = lm_gym.Metric("share", "share", lambda played: 1.0)
    lm_gym.register_task(task(metrics=(metric,)))
    again = task("Parity-v1", metrics=(lm_gym.Metric("share", "share", lambda played: 1.0),))
    lm_gym.register_task(again)
    assert "Parity-v0" not in registry
    assert gymnasium.make("Parity-v1", dataset=data()).unwrapped.task_class is again


def test_no_builtin_data_is_said():
    lm_gym.register_task(task())
    with pytest.raises(ValueError, match="Parity-v0 has no builtin data: give a file"):
        gymnasium.make("Parity-v0")


def test_labels_must_differ():
    lm_gym.register_task(task(labels=("even", "even")))
    with pytest.raises(ValueError, match="two labels have the same name: even, even"):
        gymnasium.make("Parity-v0", dataset=data())


def test_an_agent_is_not_put_among_other_labels(tmp_path):
    def make():
        return gymnasium.make_vec("Parity-v0", dataset=data(), num_envs=2, unit="sequence", autoreset_mode="SameStep")

    lm_gym.register_task(task())
    agent = REINFORCE("LMPolicy", make(), samples=2, seed=0, device="cpu")
    agent.save(tmp_path / "agent")
    agent.set_env(make())
    lm_gym.register_task(task(labels=("odd", "even")))
    for go_on in (agent.set_env, lambda env: REINFORCE.load(tmp_path / "agent", env=env, device="cpu")):
        with pytest.raises(ValueError, match="the agent has the labels even, odd, but Parity-v0 has odd, even"):
            go_on(make())


MODULE = """
import lm_gym
from lm_gym.data.fields import WORDS


@lm_gym.register_task
class Parity(lm_gym.WordLabels):
    \"\"\"Tell even words from odd ones.\"\"\"

    name, env_id, fields = "parity", "Parity-v0", (WORDS,)

    @classmethod
    def prepare(cls, dataset, options):
        return dataset.with_word_labels(lambda words: (words, [len(word) % 2 for word in words]), ("even", "odd"))
"""
ASYNC = """
import gymnasium
if __name__ == "__main__":
    env = gymnasium.make_vec("parity:Parity-v0", 2, vectorization_mode="async",
                             vector_kwargs={"context": "spawn"}, dataset="words.txt")
    env.reset(seed=0)
    print(env.step(env.action_space.sample())[1].shape)
    env.close()
"""


def test_worker_processes_know_a_task_of_a_users_module(tmp_path):
    (tmp_path / "parity.py").write_text(MODULE)
    (tmp_path / "words.txt").write_text("a bb ccc\ndddd e\n")
    (tmp_path / "main.py").write_text(ASYNC)
    command = [sys.executable, "main.py"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2,)"
