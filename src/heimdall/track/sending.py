"""What waits in the spool is sent to MLflow, and the runs of finished pipelines are completed.

Runs as a process of its own, too: `python -m heimdall.track.sending RECORD`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import artifacts, locks, remedies
from heimdall.track import finished, mlflow_store, spool
from heimdall.track.mlflow_store import Store, without_secrets
from heimdall.track.spool import SPOOL
from heimdall.track.tracker import MLflowTracker


@dataclass(frozen=True)
class Sent:
    """What a sender did.

    Attributes:
        runs: MLflow's identifier of each run that was sent, by the record's.
        problems: Why others were not, a sentence each.
        waiting: Records that are still in the spool.
    """

    runs: Mapping[str, str]
    problems: Sequence[str]
    waiting: int


def send(root: Path, store: Store, say: Callable[[str, str], object], first: str | None = None) -> Sent:
    """Send what waits in the spool. A record leaves it when all of it is in MLflow, and not before.

    One sender works at a time, the others wait: a run is looked for by its record's identifier before it is
    made, so that one which was killed in the middle is completed and none is sent twice.

    Args:
        root: The repository that has the spool.
        store: Where to send; its environment must be this process's.
        say: Called with the record's identifier and the run's when one was sent.
        first: Identifier of the record that is sent before all others. If it cannot be, they are not tried.
    """
    runs: dict[str, str] = {}
    problems: list[str] = []
    with locks.in_turn(root / SPOOL / "lock"):
        artifacts.remove_partial(root / SPOOL)
        waiting = sorted(spool.waiting(root), key=lambda path: first is None or first not in path.name)
        try:
            tracker = MLflowTracker(store) if waiting or first else None
        except Exception as error:  # SQLAlchemy's, MLflow's, requests': no common base
            return Sent(runs, [_reason(error, store)], len(waiting))
        if tracker is not None and first is not None and not any(first in path.name for path in waiting):
            run_id = tracker.recorded(first)  # another sender was faster
            if run_id is not None:
                runs[first] = run_id
                say(first, run_id)
        for path in waiting:
            assert tracker is not None  # noqa: S101 - made above
            try:
                run = spool.read(path)
                runs[run.id] = tracker.record(run)
                path.unlink()
                say(run.id, runs[run.id])
            except Exception as error:  # as above; the next one may be better
                problems.append(_reason(error, store))
                if first is not None and first in path.name:
                    break
    return Sent(runs, problems, len(spool.waiting(root)))


def catch_up(root: Path, store: Store, say: Callable[[str], object]) -> list[str]:
    """Send what waits in the spool, then complete the runs of all finished pipelines.

    Args:
        root: The repository.
        store: Where to send; its environment must be this process's.
        say: Called with a line for each thing that was sent, or was there already.

    Returns:
        Why something was not sent, a sentence each.

    Raises:
        HeimdallError: This is no repository, or its dvc.lock is damaged.
    """
    found = finished.pipelines(root)
    sent = send(root, store, lambda record, run: say(f"training {record[:8]}: sent as run {run}"))
    problems = list(sent.problems)
    if not found:
        say(f"There is no finished pipeline here. {remedies.BRING}.")
        return problems
    try:
        tracker = MLflowTracker(store)
    except Exception as error:  # as in `send`
        return problems or [_reason(error, store)]
    with locks.in_turn(root / SPOOL / "lock"):
        for outputs in found:
            name = f"experiment {outputs.experiment}" if outputs.experiment else "the workspace"
            try:
                if tracker.has_outputs(outputs.id):
                    say(f"{name}: recorded already")
                else:
                    run_id = tracker.complete(finished.pipeline_run(outputs))
                    say(f"{name}: evaluation, plots and model are in run {run_id}")
            except Exception as error:  # as above; the next one may be better
                problems.append(f"{name}: {_reason(error, store)}")
    return problems


def _reason(error: Exception, store: Store) -> str:
    """One line that names the store and what is wrong, without secrets."""
    text = without_secrets(" ".join(str(error).split())) or type(error).__name__
    return text if store.name in text else f"{store.name}: {text}"


def main() -> None:
    """Send what waits, the named record first; print record and run, and a line for each problem."""
    root = mlflow_store.main_repository()
    store = mlflow_store.resolve(root)
    os.environ.update(store.environment)
    sent = send(root, store, lambda record, run: print(record, run, flush=True), first=sys.argv[1])
    # The first problem is the named record's, if that was not sent; its line is the last.
    for problem in reversed(sent.problems):
        print(problem, file=sys.stderr)
    sys.exit(1 if sent.problems else 0)


if __name__ == "__main__":
    main()
