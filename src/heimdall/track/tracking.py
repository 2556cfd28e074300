"""What MLflow is told of a training, and of what the pipeline made of it.

When a training is over its record is written to .heimdall/tracking/ (the spool) of the main repository, whole
or not at all, and a process of its own sends what waits there: a tracker that is down, slow, full or not
installed costs a line on stderr and a bounded time, and changes nothing. What could not be sent waits for the
next training or for `heimdall track`, which also adds what exists only later: evaluation, plots, the ONNX
model, dvc.lock. HEIMDALL_TRACKING=off turns the recording of trainings off.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heimdall.core import variables
from heimdall.track import mlflow_store, own_process, spool, training
from heimdall.track.mlflow_store import SCRATCH, without_secrets
from heimdall.track.spool import SPOOL

# The first run creates the database's tables, 7 s on an idle machine; each run imports MLflow, 3 s.
TIMEOUT_S = 90.0


def track(
    params: Mapping[str, Any],
    epochs: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    started_ms: int,
    *,
    stage: str = training.TRAIN,
    timeout_s: float = TIMEOUT_S,
) -> str | None:
    """Record a finished training: put it into the spool, and send what waits there.

    Args:
        params: Parameters, nested as in params.yaml.
        epochs: As of `training.training_run`.
        metrics: Final metrics.
        started_ms: When the training began, milliseconds since 1970.
        stage: "train" or "pretrain".
        timeout_s: After this long the training goes on; the record stays in the spool.

    Returns:
        The MLflow run's identifier; None where tracking is off or it was not sent, which a line on stderr
        says.
    """
    if mlflow_store.is_off():
        return None
    root = mlflow_store.main_repository()
    try:
        run = training.training_run(Path(), params, epochs, metrics, started_ms=started_ms, stage=stage)
        spool.write(root, run)
    except Exception as error:  # a tracker must not end a training, whatever it meets
        _warn(str(root / SPOOL), f"{error}; this training is not recorded")
        return None
    return _send_apart(root, run.id, timeout_s)


def _send_apart(root: Path, run_id: str, timeout_s: float) -> str | None:
    """Send in a process of its own, ended after `timeout_s`; a line on stderr says what went wrong."""
    done = own_process.run(
        "heimdall.track.sending",
        run_id,
        folder=root / SCRATCH,
        environment={variables.DVC_ROOT.name: str(root)},
        timeout_s=timeout_s,
    )
    sent = dict(
        line.split() for line in done.said.splitlines() if re.fullmatch("[0-9a-f]{32} [0-9a-f]{32}", line)
    )
    if done.problem:
        problem = f"{mlflow_store.address(root)}: {done.problem}" if done.timed_out else done.problem
        waiting = len(spool.waiting(root))
        later = f"{waiting} wait in {SPOOL} for the next training or `heimdall track`; " if waiting else ""
        _warn(problem, f"{later}the training is not affected, HEIMDALL_TRACKING=off turns this off")
    return sent.get(run_id)


def _warn(subject: str, cause: str) -> None:
    """One line on stderr, without secrets."""
    print(without_secrets(" ".join(f"tracking: {subject}. {cause}".split())), file=sys.stderr)
