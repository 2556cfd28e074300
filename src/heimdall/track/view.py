"""How MLflow's pages show our experiment: as machine learning, with the figures of each run as columns.

MLflow keeps a view that a person shares as a tag of the experiment. Ours is such a tag: an address that names
it opens the list of runs with these columns. What other addresses show stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

EXPERIMENT = "heimdall"

_NAME = "heimdall-figures"
_KIND = "mlflow.experimentKind"  # without it MLflow 3 asks the reader whether this is about language models
_VIEW = f"mlflow.sharedViewState.{_NAME}"
_COLUMNS = {  # with their widths in pixels: the longest name fits
    "attributes.`Run Name`": 240,
    "duration": 80,
    "metrics.`final_val_loss`": 110,
    "metrics.`final_val_median_m`": 145,
    "metrics.`final_val_mae_m`": 130,
    "metrics.`test.median_m`": 115,
    "metrics.`test.mae_m`": 100,
    "params.`lr`": 70,
    "params.`batch_size`": 90,
    "tags.`data`": 90,
}
_STATE = {"selectedColumns": list(_COLUMNS), "columnOrder": list(_COLUMNS), "columnWidths": _COLUMNS}
TAGS = {_KIND: "custom_model_development", _VIEW: json.dumps(_STATE)}


def missing(tags: Mapping[str, str]) -> dict[str, str]:
    """Which of `TAGS` an experiment with these tags lacks; a kind that a person chose stays."""
    return {
        name: value
        for name, value in TAGS.items()
        if name not in tags or (name == _VIEW and tags[name] != value)
    }


def runs_page(experiment_id: str) -> str:
    """Path and query of the page that lists an experiment's runs, below an MLflow server's address."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={_NAME}"
