"""What every logged number means, and which of them a run of each algorithm logs: found by running one."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.train import main

METRICS = {
    "train/loss": "what was minimised, mean over the updates since the last log",
    "train/policy_gradient_loss": "its part that carries the policy gradient",
    "train/value_loss": "mean squared error of the critic",
    "train/entropy_loss": "minus the mean entropy of the policy at a position, in nats",
    "train/accuracy": "share of positions where the most probable choice was right, before the update",
    "train/mean_position_reward": "mean reward of a sampled choice",
    "train/return_variance": "variance of the returns-to-go G over samples and positions",
    "train/gradient_variance": "sampling variance of the gradient estimate with respect to the logits, mean over "
    "positions, as seen across the K samples (K > 1); of the updates that are logged",
    "train/kl_to_reference": "mean KL(π ‖ the policy as it was when training began), with `kl_coef` above 0",
    "train/supervised_loss": "mean −log π of the right choice, with `supervised_coef` above 0",
    "train/grad_norm": "length of the gradient before it was clipped",
    "train/learning_rate": "of the last update",
    "train/n_updates": "updates so far",
    "train/approx_kl": "estimate of KL(old policy ‖ new)",
    "train/clip_fraction": "share of steps whose ratio was clipped",
    "train/clip_range": "ε, the bound of the ratio",
    "train/clip_range_vf": "bound of the critic's change, with `clip_range_vf`",
    "train/explained_variance": "1 − Var(return − value)/Var(return); says nothing of a critic that is not trained",
    "search/fitness_best": "of the generation's best member",
    "search/fitness_mean": "of the generation's members that did not fail",
    "search/fitness_spread": "their standard deviation",
    "search/failed": "members whose probabilities were not finite; only where there were any",
    "search/perplexity": "exp(−mean fitness), where fitness is the mean log-likelihood",
    "search/generations": "so far",
    "search/evaluations": "members judged so far",
    "search/step_size": "σ",
    "search/distance": "from the mean of the search to its start",
    "search/axis_ratio": "longest to shortest axis of the distribution",
    "search/diversity": "mean standard deviation of a number over the members; of bits and tokens the mean share that "
    "differs from the first member's",
    "search/inertia": "w",
    "search/acceptance_rate": "share of proposals or trials that took their parent's place",
    "search/temperature": "T, mean of the chains",
    "search/F": "mean of the differential weight, μ_F",
    "search/CR": "mean of the crossover rate, μ_CR",
    "search/slope": "mean |g| of the generation's probes",
    "search/gradient_norm": "length of the estimate that is climbed",
    "rollout/ep_rew_mean": "mean reward of a text, over the last 100 played",
    "rollout/ep_len_mean": "mean positions of a text, over the last 100 played",
    "budget/forward_passes": "texts encoded so far",
    "budget/backward_passes": "texts that a backward pass went through so far",
    "budget/tokens": "sub-tokens encoded so far",
    "time/total_timesteps": "positions decided so far, over all samples or members",
    "time/time_elapsed": "seconds since training began, or was resumed",
    "time/fps": "timesteps a second in that time",
    "eval/entity_f1": "F1 of the split's entities, by conlleval's rules",
    "eval/entity_precision": "share of the predicted entities that are right",
    "eval/entity_recall": "share of the entities that were found",
    "eval/token_accuracy": "share of words with the right tag, O included",
    "eval/token_macro_f1": "mean over the tags of each tag's F1, O included",
    "eval/accuracy": "share of masked tokens, or of texts, that are right",
    "eval/macro_f1": "mean over the labels of each label's F1",
    "eval/matthews": "Matthews' correlation of gold and predicted labels, −1 to 1",
    "eval/expected_cost": "mean cost of a decision, by the environment's `costs`",
    "eval/calibration_error": "mean distance between a decision's probability and the share that is right, in 15 bins",
    "eval/cross_entropy": "mean −log π(right choice), in nats",
    "eval/perplexity": "its exponential",
    "eval/mean_reward": "mean reward of a text",
    "budget/seconds": "of training so far, evaluations and checkpoints left out",
    "budget/peak_memory_bytes": "the most memory that the run has had so far",
}
OF_EVALUATIONS = {"budget/seconds", "budget/peak_memory_bytes"}  # beside eval/*: logged with them
GENERATIONS = {
    "train/n_updates": "generations so far",
    "rollout/ep_rew_mean": "mean reward of a text, over the last 100 played; each the mean of the population",
    "budget/forward_passes": "texts encoded so far; with P members a text counts P times",
}
PARTICULAR = {  # where an algorithm means something of its own
    "ppo": {"train/loss": "of the last minibatch", "train/n_updates": "epochs so far"},
    "snes": {"search/step_size": "mean standard deviation of the numbers"},
    "sep_cma_es": {"search/step_size": "σ times the mean √C"},
    "pso": {"search/step_size": "mean speed |v|"},
    "sa": {"search/step_size": "mean step s of the chains"},
}
TAGGED = {
    "train.conll": 4 * "Ann B-PER\nsaw O\nOslo B-LOC\n\nIt O\nrained O\n\n",
    "dev.conll": "Bo B-PER\nsaw O\nLima B-LOC\n",
}
LABELLED = {
    "train.csv": "text,label\n" + 4 * "it was fine,good\nit rained,bad\n",
    "dev.csv": "text,label\nit was cold,bad\n",
}
TERMS = "--agent.baseline=value", "--agent.advantage=plain", "--agent.kl_coef=0.1", "--agent.supervised_coef=0.1"
RUNS: dict[str, tuple[Sequence[str], ...]] = {  # options that make an algorithm log all it can
    "reinforce": (("--algo=reinforce", *TERMS),),
    "ppo": (("--algo=ppo", "--agent.n_steps=8", "--agent.clip_range_vf=0.2"),),
    "sep_cma_es": (("--algo=snes", "--agent.optimizer=sep_cma_es"),),
    "black_box": (("--algo=random_search",), ("--algo=random_search", "--agent.optimizer_kwargs={sigma: 1.0e+38}")),
}


def meaning(tag: str, name: str) -> str:
    """What a tag means where the algorithm of that name logs it."""
    general = METRICS if name in ("reinforce", "supervised", "ppo") else METRICS | GENERATIONS
    return (general | PARTICULAR.get(name, {}))[tag]


def logged(name: str) -> set[str]:
    """The tags that tiny runs of an algorithm log on named entities, `eval/*` and `reward/*` among them."""
    return set().union(*(_tags(options) for options in RUNS.get(name, ((f"--algo={name}",),))))


def logged_by_evaluation() -> set[str]:
    """What evaluations log, of all tasks."""
    found = _tags(["--algo=supervised"])
    found |= _tags(["--algo=supervised", "--env.id=lm_gym/MaskedLM-v0", "--env.mask_probability=0.5"])
    found |= _tags(["--algo=supervised", "--env.id=lm_gym/TextClassification-v0"], LABELLED)
    return {tag for tag in found if tag.startswith("eval/") or tag in OF_EVALUATIONS}


def _tags(options: Sequence[str], files: Mapping[str, str] = TAGGED) -> set[str]:
    """The tags in metrics.jsonl of a run of one pass over eight short texts."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        small = {"env.num_envs": 4, "evaluation.num_envs": 4, "log_interval": 1, "device": "cpu", "budget.passes": 1}
        given = {"env.dataset": folder, "run_dir": folder / "run", **small}
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                main([*options, *(f"--{key}={value}" for key, value in given.items())])
            except SystemExit as error:
                raise RuntimeError(said.getvalue()) from error
        return {tag for row in read_metrics(folder / "run" / "metrics.jsonl") for tag in row} - {"timesteps"}
