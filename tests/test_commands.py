"""The command `lm-gym`: its commands, its name in messages, and the configs that it finds by name."""

import re
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_gym.agents import ALGORITHMS
from lm_gym.agents.__main__ import COMMANDS, main
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.options import SECTIONS, starting
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.agents.runs.shipped import CONFIGS, find_config, find_study

ROOT = Path(__file__).parents[1]


def test_help_lists_every_command(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown and text in shown for name, text in COMMANDS.items())
    main([])
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_of_its_own(command, capsys):
    with suppress(SystemExit):
        main([command, "--help"])
    assert f"usage: lm-gym {command}" in capsys.readouterr().out


MODEL_LIBRARIES = "{'torch', 'transformers', 'stable_baselines3', 'jsonargparse'}"


def test_help_of_train_fits_a_screen_and_imports_no_model_library():
    loads = f"assert not {MODEL_LIBRARIES} & set(sys.modules)"
    code = f"import sys; from lm_gym.agents.train import main; main(['--help']); {loads}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert all(f"--{section}.*" in done.stdout for section in SECTIONS)


LIGHT = [name for name in COMMANDS if name != "train"]


@pytest.mark.parametrize("command", LIGHT)
def test_help_imports_no_model_library(command):
    loads = "assert not {'torch', 'transformers', 'stable_baselines3'} & set(sys.modules)"
    main = f"import sys; from lm_gym.agents.{command} import main"
    code = f"{main}\ntry: main(['--help'])\nexcept SystemExit: {loads}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


OPEN_RUNS = [name for name in COMMANDS if hasattr(import_module(f"lm_gym.agents.{name}"), "run_parser")]


@pytest.mark.parametrize("command", OPEN_RUNS)
def test_help_shows_the_default_of_every_option(command):
    actions = import_module(f"lm_gym.agents.{command}")._parser()._actions
    valued = [action for action in actions if action.option_strings and action.nargs != 0]
    assert len(valued) >= 2
    silent = [a.dest for a in valued if isinstance(a.default, int | float | str) and "by default" not in a.help]
    assert silent == []


def test_unknown_option_gets_a_suggestion(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "runs/x", "--splt", "test"])
    assert capsys.readouterr().err == "lm-gym evaluate: no option --splt (did you mean '--split'?); --help lists them\n"


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("evaluate", ["runs/x"], "loading runs/x …"),
        ("play", ["runs/x"], "loading runs/x …"),
        ("predict", ["runs/x", "--input=-"], "loading runs/x …"),
        ("monitor", ["runs/x", "--input=-"], "loading runs/x …"),
        ("reply", ["runs/x", "--bank=b"], "loading runs/x …"),
        ("pretrain", ["--output=new"], "pretraining new: loading …"),
        ("compare", ["ner_builtin", "--rows=supervised"], "comparing 1 row of ner_builtin: checking …"),
    ],
)
def test_first_line_comes_before_the_model_libraries(command, arguments, line):
    terminal = "sys.stderr.isatty = lambda: True"
    without = "sys.modules['torch'] = sys.modules['stable_baselines3'] = None"  # importing them is an error
    code = f"import sys; {terminal}; {without}; from lm_gym.agents.{command} import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout + done.stderr).startswith(line)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "starting reinforce on lm_gym/NER-v0: loading …"),
        (["--config", "masked_lm_ppo"], "starting ppo on lm_gym/MaskedLM-v0: loading …"),
        (["--config=ner_ppo", "--algo=es"], "starting es on lm_gym/NER-v0: loading …"),
        (["--resume", "runs/x"], "resuming runs/x: loading …"),
    ],
)
def test_first_line_says_what_starts(arguments, line):
    assert starting(arguments) == line


def test_first_line_of_train_comes_before_the_model_libraries():
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {MODEL_LIBRARIES}: raise SystemExit(7)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from lm_gym.agents.train import main; main(['--algo=es'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "starting es on lm_gym/NER-v0: loading …\n")


def test_help_on_a_topic(capsys):
    main(["train", "--algo=es", "--help", "agent"])
    shown = capsys.readouterr().out
    assert "--agent.texts_per_member" in shown
    assert "--env." not in shown
    main(["train", "--help=all"])
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in ("agent.samples", "env.max_length", "data.scheme", "policy.freeze"))
    main(["train", "--help", "algo"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*ALGORITHMS]
    with pytest.raises(SystemExit):
        main(["train", "--help", "agnet"])
    assert "no help on 'agnet' (did you mean 'agent'?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--lr=1e-3"], "agent.learning_rate"),
        (["--agent.lr=1e-3"], "agent.learning_rate"),
        (["--algo=SNES"], "snes"),
        (["--algo=snes", "--agent.optimizer=CMA-ES"], "cma_es"),
        (["--env.id=NER"], "lm_gym/NER-v0"),
        (["--batch_size=4"], "env.num_envs"),
        (["--epochs=4"], "budget.passes"),
        (["--dataset=x"], "env.dataset"),
    ],
)
def test_wrong_names_get_a_suggestion(arguments, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        parse_settings(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget.passes=nan"], "budget.passes is 'nan': give a number above 0 or null"),
        (["--env.num_envs=x"], "env.num_envs is 'x': give a whole number"),
        (
            ["--env.sampling=shufled"],
            "env.sampling is 'shufled' (did you mean 'shuffled'?): give shuffled, bucketed or ",
        ),
        (["--agent.samples=many"], "agent.samples is 'many': give auto, all or a whole number"),
        (["--data.columns={a"], "data.columns is '{a': give {key: value} or null"),
        (["--policy.freeze=x"], "policy.freeze is 'x': give [value, …]"),
        (["runs/x"], "unrecognized arguments: runs/x"),
    ],
)
def test_wrong_values_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_settings(arguments)
    assert "\n" not in str(caught.value)


def test_misspelt_command_is_refused_with_the_nearest():
    done = subprocess.run([sys.executable, "-m", "agents", "trian"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m agents: no command 'trian' (did you mean 'train'?): there are ")


def test_only_the_command_that_runs_is_imported():
    code = "import sys; from lm_gym.agents.__main__ import main; main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("started", "typed"),
    [
        (None, "lm-gym train"),
        ("pytest.__main__", "lm-gym train"),
        ("agents.evaluate", "python -m agents.train"),
        ("agents.__main__", "python -m agents train"),
        ("lm_gym.agents.compare", "python -m lm_gym.agents.train"),
        ("lm_gym.agents.__main__", "python -m lm_gym.agents train"),
    ],
)
def test_messages_name_the_program_as_it_was_started(started, typed, monkeypatch):
    spec = None if started is None else SimpleNamespace(name=started)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    assert program("train") == typed


def test_usage_follows_how_a_checkout_starts_it():
    done = subprocess.run(
        [sys.executable, "-m", "agents.evaluate", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("usage: python -m agents.evaluate ")


def test_pretrain_overwrites_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"lm-gym pretrain: {tmp_path} already exists")


CASES = [(find_config, path, "configs/") for path in sorted(CONFIGS.glob("*.yaml"))]
CASES += [(find_study, path, "configs/compare/") for path in sorted((CONFIGS / "compare").glob("*.yaml"))]


@pytest.mark.parametrize(("find", "path", "folder"), CASES, ids=lambda value: getattr(value, "stem", ""))
def test_shipped_files_are_found_by_name_from_anywhere(find, path, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {find(name) for name in (path.stem, path.name, f"{folder}{path.name}")} == {path}


def test_a_shipped_config_is_read_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [parse_settings(arguments) for arguments in (["--config", "ner_ppo"], ["--config=configs/ner_ppo.yaml"])]
    assert settings[0] == settings[1]
    assert settings[0].algo == "ppo"


def test_a_file_of_the_users_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ner_ppo.yaml").write_text("algo: supervised\n", encoding="utf-8")
    Path("ner_builtin").mkdir()  # a folder, such as that of a study's runs, is not a study
    assert parse_settings(["--config", "ner_ppo.yaml"]).algo == "supervised"
    assert parse_settings(["--config", "ner_ppo"]).algo == "ppo"
    assert find_study("ner_builtin") == CONFIGS / "compare/ner_builtin.yaml"


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (find_config, "ner_pqo.yaml", "no file 'ner_pqo.yaml', and the package has no config of that name "),
        (find_study, "compare/ner_bultin.yaml", "and the package has no study of that name "),
    ],
)
def test_a_name_of_nothing_is_refused_with_what_there_is(find, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=message) as refused:
        find(name)
    nearest = {"ner_pqo.yaml": "ner_ppo"}.get(name, "ner_builtin")
    assert f"(did you mean {nearest!r}?): there are " in str(refused.value)
    assert "conll" in str(refused.value)
