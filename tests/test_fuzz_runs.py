"""Reading a config or a saved agent of any bytes gives settings, an agent or the documented error.

`make fuzz` tries a hundred times as many.
"""

import io
import json
import zipfile
from contextlib import suppress

import pytest
import torch as th
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save

from lm_gym.agents.algorithms.saving import AGENT, TENSORS, read
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.settings import SettingsError
from tests.test_data_fuzz import FUZZ

KEYS = ["algo", "seed", "env", "agent", "budget", "policy", "data", "ray", "env.reward", "optimizer_kwargs", "passes"]
PIECES = [*"\n:-[]{}!&*#'\"|>%@`,? ", "!!python/object:os", "<<", "&a", "*a", "null", "1e999", "\t", "\0", "\x1b[2J"]
leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(KEYS)
tree = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=8,
)
scraps = st.lists(st.sampled_from([*PIECES, *KEYS]), max_size=30).map("".join)
KINDS = ("float", "tensor", "array", "scalar", "tuple", "deque", "dict", "path", "linear", "space", "class", "no")
TAGS = [f"${kind}" for kind in KINDS]
packed = st.recursive(
    leaf | st.sampled_from(["w", "os:system", "torch.nn.modules.linear:Linear", "Box", "Dict", "float32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1),
    max_leaves=8,
)


@FUZZ
@example(b"env: null")
@example(b"agent: null")
@given(content=st.binary(max_size=60) | scraps.map(str.encode) | tree.map(lambda t: yaml.safe_dump(t).encode()))
def test_any_config(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with suppress(SettingsError):
        parse_settings(["--config", str(path)])


@FUZZ
@given(
    content=st.binary(max_size=60)
    | st.fixed_dictionaries(
        {"format": st.just(1) | leaf, "algorithm": leaf, "attributes": st.dictionaries(st.text(max_size=3), packed),
         "states": packed, "missing": st.lists(leaf, max_size=2) | leaf}
    )
)  # fmt: skip
@example({"format": 1, "algorithm": None, "attributes": {}, "states": {"$deque": [None, 2**63]}, "missing": []})
def test_any_agent(content):
    file = io.BytesIO(content if isinstance(content, bytes) else zipped(json.dumps(content).encode()))
    attempt(file)


@FUZZ
@given(place=st.integers(0, 5000), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_agents(place, value, cut):
    good = {"format": 1, "algorithm": "ES", "attributes": {"a": {"$tensor": "w"}}, "states": {}, "missing": []}
    content = bytearray(zipped(json.dumps(good).encode()))
    content[place % len(content)] = value
    attempt(io.BytesIO(bytes(content[: place % len(content)] if cut else content)))


def zipped(agent: bytes) -> bytes:
    """Return an archive as `save` writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(AGENT, agent)
        archive.writestr(TENSORS, save({"w": th.zeros(2)}))
    return file.getvalue()


def attempt(file: io.BytesIO) -> None:
    """Read an agent; the only error is a ValueError."""
    with suppress(ValueError):
        read(file, (), "cpu")


def test_a_good_agent_is_read():
    good = {"format": 1, "algorithm": "ES", "attributes": {"a": {"$tensor": "w"}}, "states": {}, "missing": []}
    saved = read(io.BytesIO(zipped(json.dumps(good).encode())), (), "cpu")
    assert saved.algorithm == "ES"
    assert saved.attributes["a"].tolist() == pytest.approx([0, 0])
