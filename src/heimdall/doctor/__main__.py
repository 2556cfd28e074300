"""`python3 -m heimdall.doctor`, as make calls it before it installs anything; `--json` for programs.

`--fits` says nothing, and its exit code whether this Python will do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from heimdall.doctor import checks, machine, report


def main() -> int:
    """Look, print, and return the exit code: 1 if something is missing."""
    if sys.argv[1:] == ["--fits"]:
        return int(machine.python().state != report.OK)
    found = checks.before_installation(Path())
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(report.as_json(found), indent=2))
    else:
        print("\n".join(report.lines(found)))
    return int(not report.passes(found))


if __name__ == "__main__":
    sys.exit(main())
