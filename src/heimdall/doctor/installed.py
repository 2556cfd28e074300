"""Whether the installed packages are the locked ones."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from heimdall.doctor.report import MISSING, OK, Check

LOCK = Path("requirements/dev.txt")
# Name, version and, where the package is not for every machine or Python, the condition.
LOCKED = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)
SHOWN = 3


def packages(root: Path) -> Check:
    """Compare the lock file with what this Python has.

    Args:
        root: The repository.
    """
    try:
        text = (root / LOCK).read_text(encoding="utf-8")
    except OSError as error:
        return Check(
            "packages", MISSING, f"{root / LOCK}: {error.strerror}", "Restore it with `git checkout`"
        )
    versions: dict[str, set[str]] = {}
    conditional: set[str] = set()
    for name, version, condition in LOCKED.findall(text):
        versions.setdefault(name, set()).add(version)
        conditional |= {name} if condition else set()
    wrong = []
    for name, locked in versions.items():
        installed = _version(name)
        if installed not in locked and not (installed is None and name in conditional):
            wrong.append(f"{name} is {installed or 'not installed'}, not {' or '.join(sorted(locked))}")
    if wrong:
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check("packages", MISSING, f"{'; '.join(wrong[:SHOWN])}{more}", "Run `make setup`")
    return Check("packages", OK, f"those of {LOCK}, in {sys.prefix}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
