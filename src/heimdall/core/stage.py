"""What every stage script has in common: how it begins and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from heimdall.core import artifacts, determinism
from heimdall.core.errors import HeimdallError

FAILURE = 1
INTERRUPTED = 130
WRITTEN = tuple(
    Path(name) for name in ("data", "models", "metrics", "plots", ".heimdall/work", ".heimdall/runs")
)


def run(main: Callable[[], None]) -> NoReturn:
    """Run a stage and end the process: 0 when it is done, one line on stderr when the user must act.

    The process is first replaced by one with the recipe's environment (`determinism`). So the script, up to
    here, imports nothing that computes; `main` does when it has its arguments and parameters.

    Args:
        main: The stage. A `HeimdallError` of it is a message for the user; any other exception is a bug
            and keeps its traceback.
    """
    if not {"-h", "--help"} & set(sys.argv):
        determinism.ensure()
    name = Path(sys.argv[0]).name
    try:
        artifacts.remove_partial(*WRITTEN)
        main()
    except HeimdallError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)
