"""What a study has found, as files: the table of its trials, and two pictures of which parameters matter."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import matplotlib as mpl
import optuna
from matplotlib.axes import Axes
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as drawing

from heimdall.core import artifacts
from heimdall.sweep.study import DATA, METRIC, rows

TABLE, PARALLEL, IMPORTANCE = "trials.csv", "parallel_coordinates.png", "importance.png"
SEED = 42  # of the forest that importance is read from
ENOUGH = 2  # complete trials, below which nothing can be told apart


def write(study: optuna.Study, folder: Path) -> list[str]:
    """Write the table, and the pictures if enough trials are complete.

    Args:
        study: Of Optuna.
        folder: Made if it is missing; what was left there before is replaced.

    Returns:
        A sentence for each file.
    """
    (folder / TABLE).parent.mkdir(parents=True, exist_ok=True)
    table = rows(study)
    artifacts.write_bytes(folder / TABLE, _csv(table).encode("utf-8"))
    said = [f"{folder / TABLE}: {len(table)} trials, including those that were lost or failed"]
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) < ENOUGH:
        return [
            *said,
            f"There are no pictures yet. They need {ENOUGH} complete trials with different values.",
        ]
    mpl.use("Agg")
    data = " and ".join(sorted({str(trial.user_attrs.get(DATA, "unknown")) for trial in complete}))
    label = f"{METRIC}, nats"
    pictures = {
        PARALLEL: _parallel(study, label),
        IMPORTANCE: drawing.plot_param_importances(
            study, evaluator=FanovaImportanceEvaluator(seed=SEED), target_name=label
        ),
    }
    for name, axes in pictures.items():
        _save(axes, f"{study.study_name}: {len(complete)} complete trials, {data} data", folder / name)
        said.append(f"{folder / name}: drawn from {len(complete)} complete trials, {data} data")
    return said


def _parallel(study: optuna.Study, label: str) -> Axes:
    """A line a trial across its value and its parameters; the bad ones visible, too."""
    axes: Axes = drawing.plot_parallel_coordinate(study, target_name=label)
    for trials in axes.collections:
        trials.set_cmap("viridis")
        if trials.colorbar is not None:  # Optuna's stands on the last parameter's numbers
            left, bottom, width, height = trials.colorbar.ax.get_position().bounds
            trials.colorbar.ax.set_position((left + 0.1, bottom, width, height))
    return axes


def _save(axes: Axes, title: str, path: Path) -> None:
    """Write the figure of these axes as a PNG."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - axes of Optuna's are in one
    axes.set_title("", loc="left")  # Optuna's
    axes.set_title(title)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    artifacts.write_bytes(path, content.getvalue())


def _csv(table: list[dict[str, object]]) -> str:
    """Rows as a table with a header; what is missing is empty."""
    text = io.StringIO()
    if table:
        writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return text.getvalue()
