"""The end of a run: its report, its model card, and what to do next."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_gym.agents.evaluation.playing import baselines, evaluate
from lm_gym.agents.evaluation.report import closing_table, markdown, reports
from lm_gym.agents.files import add_to_folder, write_json, write_text
from lm_gym.agents.runs.assembly import make_agent, make_env, make_policy
from lm_gym.agents.runs.card import CARD, card
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolder, read_json
from lm_gym.agents.runs.run_state import RunState
from lm_gym.agents.runs.saved_model import files_of
from lm_gym.agents.runs.settings import Settings
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.data import Dataset
from lm_gym.envs import TextVectorEnv
from lm_gym.registry import own_name
from lm_gym.tasks import Evaluation


@dataclass(frozen=True)
class TrainingRun:
    """A run and its objects.

    Attributes:
        settings: settings of the run.
        asked: the settings before defaults that depend on the model were decided; if resumed, the same.
        folder: its run folder.
        dataset: its dataset, with all splits.
        env: the training environment.
        agent: a new agent, or the agent of the last checkpoint.
        state: the state of the run outside the agent.
        total: timesteps of the whole run, including earlier processes.
        console: the terminal.
    """

    settings: Settings
    asked: Settings
    folder: RunFolder
    dataset: Dataset
    env: TextVectorEnv
    agent: Any
    state: RunState
    total: int
    console: Terminal

    @property
    def spent(self) -> bool:
        """Whether the run has spent its budget."""
        seconds = self.settings.budget.seconds
        return bool(self.agent.num_timesteps >= self.total if seconds is None else self.state.seconds >= seconds)

    @property
    def stopped_early(self) -> str | None:
        """Why the run ends before its budget is spent, or None."""
        return None if self.spent else self.state.stopped_early(self.settings.budget.patience)


def finish(run: TrainingRun) -> None:
    """Evaluate the best model and the baselines on validation and test, and write the report and the model card."""
    settings, folder = run.settings, run.folder
    best = make_agent(settings, run.env, model=str(folder.best))
    untrained = make_agent(settings, run.env).policy
    splits = [split for split in run.dataset.splits if split != "train"]
    envs = {split: make_env(settings, run.dataset, split, run.env.task.tokenizer) for split in splits}
    evaluations = {split: evaluate(best.policy, env) for split, env in envs.items()}
    last = splits[-1]
    passes = run.state.best_timesteps / run.agent.timesteps_per_pass
    report = {
        "algo": own_name(settings.algo),
        "env": settings.env.id,
        "dataset": run.dataset.name,
        "model": settings.policy["model"],
        "seed": settings.seed,
        "timesteps": run.agent.num_timesteps,
        "forward_passes": run.agent.forward_passes,
        "backward_passes": run.agent.backward_passes,
        "tokens": run.agent.tokens,
        "seconds": round(run.state.seconds, 3),
        "peak_memory_bytes": run.state.peak_memory_bytes,
        "chosen": {"pass": round(passes, 4), "timesteps": run.state.best_timesteps, run.state.metric: run.state.best},
        "improved": run.state.improved,
        "stopped_early": run.stopped_early,
        "metrics": {split: {**evaluation.metrics, **best.summary()} for split, evaluation in evaluations.items()},
        "baselines": {
            **baselines(envs[last]),
            **other_ways(run, evaluations[last], last),
            "untrained": evaluate(untrained, envs[last]).metrics,
        },
        "fingerprint": run.dataset.fingerprint,
        "reports": reports(evaluations[last]),
    }
    how = f"best of the run by validation {run.state.metric}," if run.state.keep == "best" else "last of the run,"
    chosen = f"The model is the {how} from pass {passes:.2f}.{_no_gain(run.state)}"
    if run.stopped_early is not None:
        at = run.agent.num_timesteps / run.agent.timesteps_per_pass
        chosen = f"Training stopped early, at pass {at:.2f}: {run.stopped_early}. {chosen}"
    commands = (folder.path / "command.txt").read_text(encoding="utf-8").splitlines()
    about = notes(run.dataset, [run.env, *envs.values()])
    text = markdown(report, evaluations[last], chosen, about, commands[0])
    add_to_folder(folder.best, {CARD: card(report, best.policy, chosen, about), **files_of(settings, folder)})
    write_text(folder.path / "report.md", text)
    write_json(folder.report, report)
    run.console.print(closing_table(report))
    run.console.say(f"{chosen}\n{folder.path}/report.md\n{next_commands(run)}")


def other_ways(run: TrainingRun, played: Evaluation, split: str) -> dict[str, dict[str, float]]:
    """Return the metrics of the best model if it plays the texts of a split in other ways (`Task.other_ways`)."""
    found = {}
    for name, options in played.task.other_ways(played).items():
        settings = replace(run.settings, env=replace(run.settings.env, **options))
        env = make_env(settings, run.dataset, split, run.env.task.tokenizer)
        policy = make_policy(settings, env, str(run.folder.best))
        found[name] = evaluate(policy, env).metrics
    return found


def next_commands(run: TrainingRun) -> str:
    """Return commands for a finished run, one on each line, to be pasted into a shell."""
    path = shlex.quote(str(run.folder.path))
    lines = [
        "next:",
        f"  {program('evaluate')} {path} --split {[*run.dataset.splits][-1]}",
        f"  {program('predict')} {path} --input FILE",
        f"  {program('play')} {path}",
    ]
    if run.folder.tensorboard.is_dir():
        lines.append(f"  tensorboard --logdir {shlex.quote(str(run.folder.tensorboard))}")
    return "\n".join(lines)


def notes(dataset: Dataset, envs: Sequence[TextVectorEnv]) -> list[str]:
    """Return notes on the data for the readers of the results."""
    cuts = [
        f"max_length cuts {env.cut.texts} texts of {env.split}"
        + f"; {env.cut.positions} {env.task.nouns.positions} are not decided" * (env.cut.positions > 0)
        for env in envs
        if env.cut.texts
    ]
    return [*dataset.notes, *cuts]


def _no_gain(state: RunState) -> str:
    """Return the last lines of a run that has not improved on its initial model."""
    if state.improved:
        return ""
    first = "" if state.first is None else f", {state.first:.4f} on validation"
    return (
        f" It is no better than the model that the run began with{first}: train longer, or with smaller steps "
        "(agent.learning_rate or, for a search, agent.optimizer_kwargs)."
    )


def say_finished(run: TrainingRun) -> None:
    """Print why a run has ended, how to train it longer, and its results."""
    path = run.folder.path
    budget, early = run.settings.budget, run.stopped_early
    longer = budget.unit if early is None else "patience"
    why = f"it has spent its budget of {budget}" if early is None else f"it stopped early, after {early}"
    again = f"{program('train')} --resume {shlex.quote(str(path))} --budget.{longer} N"
    run.console.say(f"{path} is finished: {why}.\nTo train longer: {again}")
    run.console.print(closing_table(read_json(run.folder.report)))
