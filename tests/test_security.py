"""What docs/security.md promises: checkpoints, configs, models and data run no code and write nothing elsewhere."""

import ast
import json
import pickle
import re
import zipfile
from pathlib import Path

import gymnasium
import pytest
import torch as th

from lm_gym.agents.algorithms.presets import SNES
from lm_gym.agents.algorithms.saving import read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.settings import SettingsError
from tests.small import few_names, small
from tests.test_architecture import MODULES

ROOT = Path(__file__).parents[1]
DANGEROUS = {
    "pickle.load", "pickle.loads", "th.load", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval",
    "exec", "os.system", "marshal.loads", "shelve.open", "joblib.load", "archive.extract", "archive.extractall",
    "np.load", "shutil.unpack_archive",
}  # fmt: skip
TRUSTED = {
    "lm_gym.agents.algorithms.ray_batch_sharing": {"pickle.loads"},  # messages between processes of one cluster
    "lm_gym.agents.algorithms.ray_evaluator": {"pickle.loads"},
    "lm_gym.agents.algorithms.ray_rollouts": {"pickle.loads"},
    "lm_gym.agents.algorithms.ray_workers": {"pickle.loads"},
    "lm_gym.testing.reproduction": {"pickle.loads"},  # its own pickles
}


def dangers(tree):
    """Calls that run code of a file or write where the file says, and arguments that let a library do so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in DANGEROUS:
                weights = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                yield f"{name} with weights_only" if weights else name
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "shell") and ast.unparse(keyword.value) != "False":
                    yield keyword.arg
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield keyword.arg


@pytest.mark.parametrize("module", MODULES)
def test_no_module_runs_what_a_file_says(module):
    found = set(dangers(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    assert found - {"th.load with weights_only"} <= TRUSTED.get(module, set())


def test_dangers_are_seen():
    seen = dangers(ast.parse("pickle.load(f); th.load(f, weights_only=True); f(trust_remote_code=x); np.load(f)"))
    assert sorted(seen) == ["np.load", "pickle.load", "th.load with weights_only", "trust_remote_code"]


class Bomb:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_bomb_goes_off_when_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "bang")))
    assert (tmp_path / "bang").exists()


@pytest.mark.parametrize("text", ["seed: !!python/object/apply:os.mkdir [{0}]", "algo: !!python/name:os.system"])
def test_a_config_with_objects_is_refused(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text.format(tmp_path / "bang"))
    with pytest.raises(SettingsError, match="is not YAML: could not determine a constructor"):
        parse_settings(["--config", str(path)])
    assert not (tmp_path / "bang").exists()


@pytest.fixture(scope="module")
def env():
    return gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=2, dataset=few_names(8), unit="sequence", actions="distribution",
        reward="log_likelihood", autoreset_mode="SameStep",
    )  # fmt: skip


def make_policy(env, model):
    task = env.task
    return LMPolicy(
        env.single_observation_space,
        env.single_action_space,
        lambda _: 0.0,
        **{**task.policy_arguments, "model": model},
    )


@pytest.fixture
def model(env, tmp_path):
    """The folder of a small model."""
    folder = tmp_path / "model"
    make_policy(env, small(env)["model"]).network.save_pretrained(folder)
    return folder


def test_code_in_a_model_is_not_run(env, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": dict.fromkeys(("AutoConfig", "AutoModel"), "evil.Evil")}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'bang')!r}).touch()\nEvil = object\n")
    with pytest.raises(ValueError, match=r"unheard_of|trust_remote_code"):
        make_policy(env, str(model))
    assert not (tmp_path / "bang").exists()


def test_weights_that_are_a_pickle_are_not_run(env, model, tmp_path):
    (model / "model.safetensors").unlink()
    th.save({"bert.embeddings.word_embeddings.weight": Bomb(tmp_path / "bang")}, model / "pytorch_model.bin")
    with pytest.raises((ValueError, OSError, pickle.UnpicklingError)):
        make_policy(env, str(model))
    assert not (tmp_path / "bang").exists()


def test_an_archive_writes_nothing(env, tmp_path):
    """Names of members that leave the folder are not followed: a saved agent is read and never unpacked."""
    agent = SNES("LMPolicy", env, policy_kwargs=small(env), seed=0, device="cpu")
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    agent.save(folder / "agent.zip")
    with zipfile.ZipFile(folder / "agent.zip", "a") as archive:
        for name in ("../bang", "../../bang", str(tmp_path / "bang")):
            archive.writestr(name, "bang")
    before = sorted(tmp_path.rglob("*"))
    assert read(folder / "agent.zip", (), "cpu").algorithm == "SNES"
    SNES.load(folder / "agent.zip", env=env, device="cpu")
    assert sorted(tmp_path.rglob("*")) == before


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", page)
    assert len(named) > 15
    sources = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    assert [name for name in named if f"def {name[1]}(" not in sources.get(name[0], "")] == []
