"""The study in TensorBoard: its charts as images, and its runs as hparams."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from lm_gym.agents.compare.results import Results


def write_board(results: Results, figures: Mapping[str, Figure]) -> None:
    """Write `tensorboard/`, replacing an earlier one."""
    folder = results.out / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    with _writer(folder) as writer:
        for name, figure in figures.items():
            file = io.BytesIO()
            figure.savefig(file, format="png")
            writer.add_image(f"study/{name}", np.asarray(Image.open(file).convert("RGB")), dataformats="HWC")
    metrics = [results.study.metric, *results.study.shown]
    for run in results.runs:
        if run.report is None:
            continue
        chosen = {"row": run.row, "family": run.family, "algo": str(run.report["algo"]), "seed": run.seed}
        reached = {f"study/{metric}": run.score(metric) for metric in metrics}
        costs = {"equivalents": run.equivalents, "seconds": run.report["seconds"]}
        costs["peak_memory_mib"] = run.report["peak_memory_bytes"] / 2**20
        with _writer(folder / "runs") as writer:
            reached |= {f"cost/{name}": value for name, value in costs.items()}
            writer.add_hparams(chosen, reached, run_name=run.folder.name)


def _writer(folder: Path) -> SummaryWriter:
    return SummaryWriter(str(folder))
