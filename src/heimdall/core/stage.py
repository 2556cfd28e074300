"""What every stage script has in common: how it begins and ends, and from where it may be typed."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from heimdall.core import artifacts, child, determinism, errors, paths
from heimdall.core.child import Service
from heimdall.core.variables import Variable

FAILURE = 1
INTERRUPTED = 130
WRITTEN = tuple(
    Path(name) for name in ("data", "models", "metrics", "plots", ".heimdall/work", ".heimdall/runs")
)
TYPED_IN = Path.cwd()
QUIET = ("-q", "--quiet")  # of the scripts that have this option


def typed_path(text: str) -> Path:
    """A path as it is meant in the repository's root, to which `run` goes; for argparse.

    Args:
        text: Relative to the folder where the script was typed.
    """
    return Path(text) if Path.cwd() == TYPED_IN else TYPED_IN / text


def silence(quiet: bool) -> None:
    """If so asked, print nothing on stderr as long as the stage runs; `run` prints its error all the same."""
    if quiet:
        sys.stderr = io.StringIO()


def run(main: Callable[[], None], *services: Service, database: Variable | None = None) -> NoReturn:
    """Run a stage and end the process: 0 when it is done, one line on stderr when the user must act.

    The process is first replaced by one with the recipe's environment (`determinism`). So the script, up to
    here, imports nothing that computes; `main` does when it has its arguments and parameters. A folder
    without params.yaml is left for the root of the script's clone. Addresses and credentials of services that
    it does not reach are forgotten first.

    Args:
        main: The stage. A `HeimdallError` of it and a disk's failure are messages for the user; any other
            exception is a bug and keeps its traceback.
        services: What the stage has to reach.
        database: As of `child.forget`.
    """
    child.forget(*services, database=database)
    root = Path() if determinism.PARAMS_FILE.exists() else paths.CLONE
    if not {"-h", "--help"} & set(sys.argv):
        determinism.ensure(root / determinism.PARAMS_FILE, quiet=not set(QUIET).isdisjoint(sys.argv))
    os.chdir(root)
    name = Path(sys.argv[0]).name
    try:
        artifacts.remove_partial(*WRITTEN)
        with contextlib.redirect_stderr(sys.stderr):  # until here it may be silenced
            main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        foreseen = errors.foreseen(error)
        if foreseen is None:
            raise
        print(f"{name}: {' '.join(str(foreseen).split())}", file=sys.stderr)
        sys.exit(FAILURE)
    sys.exit(0)
