"""Training runs: how they start, resume, train and end. `run_folder` describes their files."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime
from functools import partial
from pathlib import Path

import torch as th
from rich.text import Text
from safetensors import SafetensorError
from stable_baselines3.common.callbacks import BaseCallback
from transformers.utils.logging import disable_progress_bar

from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.files import write_text
from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset
from lm_gym.agents.runs.callbacks import Evaluate, LogRewards, SaveCheckpoints, StopBySeconds, StopEarly
from lm_gym.agents.runs.clock import Clock
from lm_gym.agents.runs.cluster import use_workers
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.curve import cut_curve
from lm_gym.agents.runs.explained import explained
from lm_gym.agents.runs.finishing import TrainingRun, finish, notes, say_finished
from lm_gym.agents.runs.hparams import hparams_summaries, run_name
from lm_gym.agents.runs.interrupts import Stopped, StopRequest
from lm_gym.agents.runs.loggers import LoggedRun, find_loggers, open_logger
from lm_gym.agents.runs.messages import fail
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.progress import ProgressBar
from lm_gym.agents.runs.run_folder import Checkpoint, RunFolder, RunFolderError, check_new, read_json
from lm_gym.agents.runs.run_state import RunState
from lm_gym.agents.runs.scale_check import CheckScale
from lm_gym.agents.runs.settings import Settings, SettingsError
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.envs import TextVectorEnv
from lm_gym.naming import nearest
from lm_gym.registry import UserCodeError, own_name

_MAY_CHANGE = ("budget.", "checkpoint.", "ray.", "threads", "device", "logger")  # what may change when a run resumes


def run_training(given: Sequence[str]) -> None:
    """Start or resume the run that the arguments of `train` describe, or print its settings (--print_config)."""
    command = f"{program('train')} {shlex.join(given)}".rstrip()
    console = Terminal()
    disable_progress_bar()  # type: ignore[no-untyped-call]  # the bar for writing checkpoints
    with ExitStack() as held:
        try:
            settings = parse_settings([argument for argument in given if argument != "--print_config"])
            _set_threads(settings)
            if "--print_config" in given:
                sys.stdout.write(explained(settings))
                raise SystemExit(0)
            if settings.resume is None:
                run = start(settings, command, console, held)
            else:
                run = resume(settings, given, console, held)
        except (ValueError, OSError, RunFolderError, WorkerError) as error:
            fail(program("train"), error)
        except KeyboardInterrupt:
            console.say("\nstopped before training began")
            raise SystemExit(130) from None
        if finished(run):
            say_finished(run)
        else:
            _train_and_report(run)


def _train_and_report(run: TrainingRun) -> None:
    """Train and report. If something ends this early, print one line; saved files stay."""
    request = StopRequest()
    resume = f"{program('train')} --resume {shlex.quote(str(run.folder.path))}"
    try:
        with request.listening():
            train(run, request)
        finish(run)
    except (Stopped, KeyboardInterrupt) as stop:
        saved = "with a checkpoint" if isinstance(stop, Stopped) else "without a new checkpoint"
        run.console.say(f"\nstopped at {run.agent.num_timesteps:,} timesteps, {saved}; resume with:\n{resume}")
        raise SystemExit(stop.status if isinstance(stop, Stopped) else 130) from None
    except FloatingPointError as error:
        fail(program("train"), FloatingPointError(f"{error}; {_last_good(run.folder)}"))
    except (SettingsError, RunFolderError, UserCodeError) as error:
        fail(program("train"), error)
    except (OSError, SafetensorError, WorkerError) as error:
        fail(program("train"), OSError(f"{error}; earlier results are kept, continue with: {resume}"))


def _last_good(folder: RunFolder) -> str:
    """Name the last complete checkpoint, for messages about lost weights."""
    checkpoint = folder.last_checkpoint()
    return "there is no checkpoint yet" if checkpoint is None else f"the last good checkpoint is {checkpoint.path}"


def start(settings: Settings, command: str, console: Terminal, held: ExitStack) -> TrainingRun:
    """Start a new run. Nothing is written until everything that the settings name has been found and is compatible."""
    if settings.run_dir is not None:
        check_new(settings.run_dir)
    find_loggers(settings.logger)
    dataset = make_training_dataset(settings)
    env = make_env(settings, dataset, "train", learning=True)
    agent = make_agent(settings, env)
    asked, settings = settings, settings.with_agent(agent.decided_settings())
    state = _first_state(settings, env)
    use_workers(settings.ray, agent, held)
    folder = RunFolder.create(settings.run_dir or _new_path(asked), settings.yaml, command, dataset)
    held.callback(folder.unlock)
    total = _total(settings, agent)
    return TrainingRun(settings, asked, folder, dataset, env, agent, state, total, console)


def resume(settings: Settings, given: Sequence[str], console: Terminal, held: ExitStack) -> TrainingRun:
    """Resume a run from its last complete checkpoint, or from the beginning if it has none."""
    assert settings.resume is not None
    folder = RunFolder.open(settings.resume)
    folder.lock()
    held.callback(folder.unlock)
    saved = parse_settings(["--config", str(folder.config)])
    settings = parse_settings(["--config", str(folder.config), *given])
    _refuse_changes(saved, settings)
    find_loggers(settings.logger)
    dataset = make_training_dataset(settings)
    folder.check_data(dataset)
    env = make_env(settings, dataset, "train", learning=True)
    checkpoint = folder.last_checkpoint()
    agent, state = _restore(settings, env, checkpoint)
    use_workers(settings.ray, agent, held)
    total = _total(settings, agent)
    if settings != saved:
        write_text(folder.config, settings.yaml)
    if settings.budget != saved.budget and settings.agent.get("schedule", "constant") != "constant":
        console.say(
            "note: the learning-rate schedule now follows the new budget, so the result differs from a run that had "
            "this budget from the start"
        )
    with (folder.path / "command.txt").open("a", encoding="utf-8") as file:
        file.write(f"{program('train')} {shlex.join(given)}\n")
    return TrainingRun(settings, settings, folder, dataset, env, agent, state, total, console)


def finished(run: TrainingRun) -> bool:
    """Return whether the run has ended, by its budget or early, and written its report."""
    ended = run.spent or run.stopped_early is not None
    if not ended or not run.folder.report.is_file():
        return False
    try:
        report = read_json(run.folder.report)
    except RunFolderError as error:
        run.console.say(f"note: {error}; it is written again")
        return False
    return bool(report["timesteps"] == run.agent.num_timesteps)


def train(run: TrainingRun, request: StopRequest) -> None:
    """Train until the budget is spent, with logs, evaluations and checkpoints.

    Args:
        run: the run to train.
        request: whether to stop early.

    Raises:
        Stopped: the run was asked to stop, and has saved a checkpoint.
    """
    settings, agent, folder = run.settings, run.agent, run.folder
    _say_hello(run)
    cut_curve(folder.metrics, folder.tensorboard, agent.num_timesteps if agent.num_timesteps else -1)
    usual = parse_settings([f"--algo={settings.algo}"])
    first = [] if agent.num_timesteps else hparams_summaries(settings, usual, run.asked)
    described = LoggedRun(folder.path, _name(folder.path), settings.flat(), first)
    logger = open_logger(described, find_loggers(settings.logger))
    agent.set_logger(logger)
    clock = Clock(run.state.seconds)
    per_pass, times = agent.timesteps_per_pass, settings.evaluation.times
    every = settings.evaluation.every_passes * per_pass

    def due() -> int:
        return int(agent.num_timesteps / every) if times is None else int(agent.done * times)

    validation = make_env(settings, run.dataset, "validation", run.env.task.tokenizer)
    evaluation = Evaluate(
        partial(evaluate, agent.policy, validation, texts=settings.evaluation.texts),
        due,
        folder,
        run.state,
        clock,
        run.console,
        shown=settings.evaluation.shown,
        timesteps_per_pass=per_pass,
    )
    checkpoints = SaveCheckpoints(settings.checkpoint, per_pass, folder, run.state, clock, request)
    bar = ProgressBar(run.console, clock, lambda: _shown(run.state))
    early = StopEarly(settings.budget.patience, run.state)
    callbacks: list[BaseCallback] = [LogRewards(run.env.reward.name), evaluation, early, checkpoints, bar, CheckScale()]
    if settings.budget.seconds is not None:
        callbacks.insert(0, StopBySeconds(settings.budget.seconds, clock))
    clock.start()
    try:
        if not run.spent:
            agent.learn(
                run.total - agent.num_timesteps,
                callback=callbacks,
                log_interval=settings.log_interval,
                reset_num_timesteps=agent.num_timesteps == 0,
            )
    finally:
        bar.stop()
        clock.stop()
        logger.close()


def _restore(settings: Settings, env: TextVectorEnv, checkpoint: Checkpoint | None) -> tuple[TextAlgorithm, RunState]:
    if checkpoint is None:
        return make_agent(settings, env), _first_state(settings, env)
    unknown = checkpoint.state.keys() - {field.name for field in fields(RunState)}
    if unknown:
        raise RunFolderError(
            f"{checkpoint.path} has {', '.join(sorted(unknown))}, which this version of lm-gym does not know: resume "
            f"with the version in {checkpoint.path.parents[1] / 'versions.json'}"
        )
    agent = find_algorithm(settings.algo).load(checkpoint.model, env=env, device=settings.device)  # type: ignore[arg-type]
    return agent, RunState(**checkpoint.state)


def _refuse_changes(saved: Settings, settings: Settings) -> None:
    before, after = saved.flat(), settings.flat()
    for key in before | after:
        if before.get(key) != after.get(key) and not key.startswith(_MAY_CHANGE):
            raise SettingsError(
                f"a resumed run keeps its settings: {key} is {before.get(key)!r}, not {after.get(key)!r}; leave it "
                "out, or start a new run with --config and --run_dir"
            )


def _first_state(settings: Settings, env: TextVectorEnv) -> RunState:
    """Return the initial state of a run, with the metric that chooses its model."""
    known = [metric.name for metric in env.task.all_metrics()]
    metric = settings.evaluation.metric or known[0]
    if metric not in known:
        raise SettingsError(
            f"{settings.env.id} has no metric {metric!r}{nearest(metric, known)}: evaluation.metric must be one of "
            f"{', '.join(known)}"
        )
    return RunState(metric, settings.evaluation.keep)


def _total(settings: Settings, agent: TextAlgorithm) -> int:
    """Return the budget in timesteps."""
    passes = agent.forward_passes_per_pass, agent.backward_passes_per_pass
    return settings.budget.total(agent.timesteps_per_pass, *passes)


def _new_path(settings: Settings) -> Path:
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{run_name(settings, parse_settings([f'--algo={settings.algo}']))}"
    return Path("runs") / own_name(settings.env.id).rpartition("/")[2] / own_name(settings.algo) / stem


def _name(path: Path) -> str:
    """Return the name of a run for trackers: the last two folders, such as reinforce/20260101-120000-0."""
    return "/".join(path.resolve().parts[-2:])


def _set_threads(settings: Settings) -> None:
    if settings.threads is not None:
        th.set_num_threads(settings.threads)


def _shown(state: RunState) -> str:
    return f"{state.metric} " + ("–" if state.last is None else f"{state.last:.3f}")


def _say_hello(run: TrainingRun) -> None:
    sizes = ", ".join(f"{len(corpus):,} {split}" for split, corpus in run.dataset.splits.items())
    agent = run.agent
    again = "no checkpoint yet, starting over" if run.settings.resume else "starting"
    state = f"resuming at {agent.num_timesteps:,} timesteps" if agent.num_timesteps else again
    run.console.say(
        Text(own_name(run.settings.algo), "bold").append(
            f" on {run.settings.env.id}, {run.dataset.name} ({sizes} texts)\n"
            f"model {run.settings.policy['model']}, {agent.searched()}; {state}, {run.settings.budget} in total\n"
            f"{run.folder.path}",
            "not bold",
        )
    )
    for note in notes(run.dataset, [run.env]):
        run.console.say(f"note: {note}")
