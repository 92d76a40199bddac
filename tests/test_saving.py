"""Saved agents contain plain values and tensors, and no code; an error names anything else."""

import io
import json
import zipfile
from collections import deque
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule
from torch import nn

from lm_gym.agents.algorithms.plain_values import NotPlainError, Packer, Unpacker
from lm_gym.agents.algorithms.presets import ES, SNES
from lm_gym.agents.algorithms.reinforce import REINFORCE

VALUES = [
    None, True, 3, -0.5, "text", [1, [2]], (1, (2.5,)), {"a": {"b": 1}}, {0: "a", (1, 2): "b"}, {"$tensor": "mine"},
    float("inf"), Path("folder/file"), deque([{"r": 1.0}], maxlen=3), deque([1]),
]  # fmt: skip
ARRAYS = [
    th.arange(6).view(2, 3), th.tensor(1.5), th.zeros(0), th.ones(2, dtype=th.bfloat16), th.arange(6.0).view(2, 3).T,
    th.arange(9)[3:], np.arange(4, dtype=np.int8), np.array(2.5), np.asfortranarray(np.eye(3)), np.zeros((2, 0), bool),
]  # fmt: skip
SPACES = [
    spaces.Box(-1.0, np.array([1.0, np.inf], np.float32)),
    spaces.Box(0, 9, (2, 3), np.int64),
    spaces.Discrete(5, start=2),
    spaces.MultiDiscrete([2, 3], np.int8),
    spaces.MultiBinary(4),
    spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary([2, 2])]),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(0, 1, (1,))}),
]


def there_and_back(value):
    packer = Packer()
    text = json.dumps(packer.pack(value, "value"), allow_nan=False)
    tensors = safetensors.torch.load(safetensors.torch.save(packer.tensors))
    return Unpacker(tensors, "cpu").unpack(json.loads(text))


@pytest.mark.parametrize("value", VALUES + SPACES + [nn.Tanh, th.optim.SGD], ids=repr)
def test_values_come_back(value):
    found = there_and_back(value)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{type(value).__name__} {tuple(value.shape)}")
def test_arrays_come_back(value):
    found = there_and_back([value, value])
    assert found[0] is not found[1]
    for copy in found:
        assert type(copy) is type(value)
        assert copy.dtype == value.dtype
        assert copy.shape == value.shape
        assert copy.tolist() == value.tolist()


def test_numbers_of_numpy_keep_their_type():
    for value in (np.float32(0.1), np.float64(0.1), np.int16(3), np.bool_(True)):
        found = there_and_back({"x": value})["x"]
        assert type(found) is type(value)
        assert found == value


def test_schedules():
    assert there_and_back(FloatSchedule(0.2)) == 0.2
    found = there_and_back(FloatSchedule(LinearSchedule(1.0, 0.5, 0.25)))
    assert [found(1 - done) for done in (0.0, 0.125, 0.5)] == [1.0, 0.75, 0.5]


def test_a_tensor_that_occurs_twice_is_kept_once():
    packer, shared = Packer(), th.ones(3)
    packer.pack({"a": shared, "b": [shared], "c": th.ones(3)}, "state")
    assert set(packer.tensors) == {"state.a", "state.c"}


@pytest.mark.parametrize(
    "value", [object(), len, lambda x: x, {1, 2}, np.array([None]), Packer, io.BytesIO], ids=lambda v: type(v).__name__
)
def test_other_values_are_named(value):
    with pytest.raises(NotPlainError, match=r"^given\.a\.1 is "):
        Packer().pack({"a": (0, value)}, "given")


@pytest.mark.parametrize("name", ["os:system", "torch.nn:Module.forward", "torch.nn.utils.parametrize:cached", "a:b"])
def test_no_other_class_is_looked_up(name):
    with pytest.raises(ValueError, match=f"{name} is not a class"):
        Unpacker({}, "cpu").unpack({"$class": name})


class Doubled(nn.Tanh):
    """A user's own activation."""


def cart_pole(algorithm=REINFORCE, **options):
    options = {"policy_kwargs": {"net_arch": [4], "activation_fn": nn.Tanh}, **options}
    return algorithm("MlpPolicy", gymnasium.make("CartPole-v1"), seed=0, device="cpu", **options)


def same(one, other):
    mine, theirs = one.policy.state_dict(), other.policy.state_dict()
    return all(th.equal(mine[name], theirs[name]) for name in mine | theirs)


def test_a_file_has_no_pickle_and_no_module_of_ours(tmp_path):
    cart_pole().learn(50).save(tmp_path / "agent")
    with zipfile.ZipFile(tmp_path / "agent.zip") as content:
        assert set(content.namelist()) == {"agent.json", "tensors.safetensors", "system_info.txt"}
        described = json.loads(content.read("agent.json"))
    assert described["algorithm"] == "REINFORCE"
    assert described["attributes"]["policy_class"] == "MlpPolicy"
    assert "lm_gym" not in str(described)
    assert "agents" not in str(described)


def test_open_files_parameters_and_what_is_left_out():
    agent = cart_pole().learn(50)
    file = io.BytesIO()
    agent.save(file, exclude=["ep_info_buffer"], include=["_last_episode_starts"])
    loaded = REINFORCE.load(file, env=gymnasium.make("CartPole-v1"), device="cpu")
    assert same(agent, loaded)
    assert loaded.policy.activation_fn is nn.Tanh
    assert agent.ep_info_buffer
    assert loaded.ep_info_buffer is None
    other = cart_pole(policy_kwargs={"net_arch": [4]})
    assert not same(agent, other)
    other.set_parameters(file)
    assert same(agent, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy_kwargs", {"net_arch": [4], "activation_fn": Doubled}),
        ("learning_rate", lambda remaining: 1e-3 * remaining),
    ],
)
def test_what_a_file_cannot_hold_is_named_and_given_again(name, value, tmp_path):
    agent = cart_pole(**{name: value})
    with pytest.raises(TypeError, match=rf"^{name}.* is .*exclude=\['{name}'\]"):
        agent.save(tmp_path / "agent")
    assert not list(tmp_path.iterdir())
    agent.save(tmp_path / "agent", exclude=[name])
    with pytest.raises(ValueError, match=rf"load\(path, {name}=…\)"):
        REINFORCE.load(tmp_path / "agent", device="cpu")
    for given in ({name: value}, {"custom_objects": {name: value}}):
        loaded = REINFORCE.load(tmp_path / "agent", device="cpu", **given)
        assert same(agent, loaded)
        assert getattr(loaded, name) is value


def test_an_attribute_of_a_subclass_is_kept_or_named(tmp_path):
    agent = cart_pole()
    agent.notes = {"seen": np.arange(3), 4: (1, None)}
    agent.save(tmp_path / "agent")
    found = REINFORCE.load(tmp_path / "agent", device="cpu").notes
    assert found["seen"].tolist() == [0, 1, 2]
    assert found[4] == (1, None)
    agent.notes = {"seen": [object()]}
    with pytest.raises(TypeError, match=r"^notes\.seen\.0 is <object"):
        agent.save(tmp_path / "agent")


def test_files_that_do_not_fit_are_refused(tmp_path):
    cart_pole(ES).save(tmp_path / "agent")
    with pytest.raises(ValueError, match="saved by ES, not by SNES"):
        SNES.load(tmp_path / "agent")
    with pytest.raises(ValueError, match="policy_kwargs are"):
        ES.load(tmp_path / "agent", policy_kwargs={"net_arch": [5]})
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as content:
        content.writestr("notes.txt", "mine")
    with pytest.raises(ValueError, match="has no agent in it"):
        ES.load(tmp_path / "other")
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as content:
        content.writestr("agent.json", "{}")
    with pytest.raises(ValueError, match=r"half.zip is damaged, and holds no whole agent"):
        ES.load(tmp_path / "half.zip")
    (tmp_path / "text.zip").write_text("mine")
    with pytest.raises(ValueError, match="not a zip file"):
        ES.load(tmp_path / "text")
