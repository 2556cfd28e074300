"""A fork of a warm process that becomes a command, so that a kill lands in its work, not in its imports."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def become(output: int, run: Callable[[], object]) -> NoReturn:
    """Be a command in a fork, and end with it.

    Args:
        output: Descriptor to which all that it writes goes.
        run: Ends by SystemExit, as commands and stages do.
    """
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
