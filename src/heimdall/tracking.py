"""MLflow: parameters, epochs and final metrics of a training, recorded when it is over.

A tracker that is down, slow or not installed costs a warning and a bounded time, and changes nothing:
recording runs in a process of its own (`python -m heimdall.tracking`), which is ended after
`TIMEOUT_S`. Runs go to MLFLOW_TRACKING_URI, else to .heimdall/mlflow.db; look at those with
`mlflow ui --backend-store-uri sqlite:///.heimdall/mlflow.db`. HEIMDALL_TRACKING=off turns it off.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPERIMENT = "heimdall"
SCRATCH = Path(".heimdall")
# The first run creates the database's tables, 7 s on an idle machine; each run imports MLflow, 3 s.
TIMEOUT_S = 90.0
REQUEST_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Run:
    """What is recorded of one training.

    Attributes:
        params: Parameters, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: Final metrics; those that are no numbers become tags.
        tags: What else identifies the run.
    """

    params: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    metrics: Mapping[str, Any]
    tags: Mapping[str, str]


def track(
    params: Mapping[str, Any],
    epochs: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    timeout_s: float = TIMEOUT_S,
) -> str | None:
    """Record a finished training.

    Args:
        params: Parameters, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: Final metrics.
        timeout_s: After this long the training goes on without a record.

    Returns:
        The MLflow run's identifier; None where tracking is off or failed, which a line on stderr says.
    """
    if os.environ.get("HEIMDALL_TRACKING", "").lower() in {"off", "0", "false", "no"}:
        return None
    uri = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    folder = Path()
    if uri == default_uri():
        # MLflow makes its artifact folder where it runs.
        folder = SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
    environment = REQUEST_LIMITS | os.environ | {"MLFLOW_TRACKING_URI": uri}
    content = {"params": params, "epochs": list(epochs), "metrics": metrics, "tags": revision_tags()}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "heimdall.tracking"],
            input=json.dumps(content),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        _warn(uri, f"no answer within {timeout_s:g} s")
        return None
    except OSError as error:
        _warn(uri, str(error))
        return None
    lines = done.stdout.split()
    if done.returncode or not lines:
        problems = done.stderr.strip().splitlines() or ["no reason given"]
        _warn(uri, problems[-1])
        return None
    return lines[-1]


def default_uri() -> str:
    """The embedded store: an SQLite file in the repository's scratch folder."""
    return f"sqlite:///{(SCRATCH / 'mlflow.db').resolve()}"


def revision_tags() -> dict[str, str]:
    """The git revision and whether the working tree differs from it; nothing outside a git repository."""
    tags = {}
    for name, command in (
        ("git_revision", ["git", "rev-parse", "HEAD"]),
        ("git_changes", ["git", "status", "--porcelain", "--untracked-files=no"]),
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return {}
        tags[name] = done.stdout.strip()
    return {"git_revision": tags["git_revision"], "git_dirty": str(bool(tags["git_changes"])).lower()}


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as MLflow wants them.

    Args:
        params: Nested mapping.
        prefix: Put before each name.

    Returns:
        Dotted names, values as text.
    """
    result: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = str(value)
    return result


def without_secrets(text: str) -> str:
    """Remove user and password from every address in a text."""
    return re.sub(r"(://)[^/\s@]*@", r"\1", text)


def _warn(uri: str, cause: str) -> None:
    """Say in one line that nothing was recorded."""
    message = f"tracking: {uri}: {cause}. The training is not affected; HEIMDALL_TRACKING=off turns this off"
    print(without_secrets(" ".join(message.split())), file=sys.stderr)


class MLflowTracker:
    """A writer of runs to one MLflow store. It raises what MLflow raises; `track` guards against that.

    Args:
        uri: The tracking store.
        experiment: Name of the experiment; it is created where it is missing.
    """

    def __init__(self, uri: str, experiment: str = EXPERIMENT) -> None:
        import mlflow  # noqa: PLC0415 - it takes 3 s, and only the recording process needs it

        self._client = mlflow.MlflowClient(uri)
        found = self._client.get_experiment_by_name(experiment)
        self.experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)

    def record(self, run: Run) -> str:
        """Write one run, its metrics in batches.

        Args:
            run: What to record.

        Returns:
            The run's identifier.
        """
        from mlflow.entities import Metric, Param  # noqa: PLC0415 - as above

        final = {name: value for name, value in run.metrics.items() if not isinstance(value, str)}
        tags = dict(run.tags) | {name: value for name, value in run.metrics.items() if isinstance(value, str)}
        created = self._client.create_run(self.experiment_id, tags=tags)
        run_id = str(created.info.run_id)
        started_ms = created.info.start_time
        values = [
            Metric(name, float(value), started_ms, int(epoch["epoch"]))
            for epoch in run.epochs
            for name, value in epoch.items()
            if name != "epoch"
        ]
        values += [Metric(f"final_{name}", float(value), started_ms, 0) for name, value in final.items()]
        parameters = [Param(name, value) for name, value in flat(run.params).items()]
        self._client.log_batch(run_id, params=parameters)
        for start in range(0, len(values), 1000):  # MLflow's limit of one batch
            self._client.log_batch(run_id, metrics=values[start : start + 1000])
        self._client.set_terminated(run_id)
        return run_id


def main() -> None:
    """Record the run that stands as JSON on stdin, and print its identifier."""
    content = json.load(sys.stdin)
    print(MLflowTracker(os.environ["MLFLOW_TRACKING_URI"]).record(Run(**content)))


if __name__ == "__main__":
    main()
