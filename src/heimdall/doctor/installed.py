"""Whether the installed packages are the locked ones."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from heimdall.doctor.report import MISSING, OK, Check

LOCK, RAYS_LOCK = Path("requirements/dev.txt"), Path("requirements/cluster.txt")
# Name, version and, where the package is not for every machine or Python, the condition.
LOCKED = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)
SHOWN = 3


def packages(root: Path) -> Check:
    """Compare the lock file with what this Python has.

    Args:
        root: The repository.
    """
    return _compared("packages", root, LOCK, "Run `make setup`")


def ray(root: Path) -> Check:
    """The same of the lock file of Ray, without which no cluster can be used.

    Args:
        root: The repository.
    """
    return _compared("Ray", root, RAYS_LOCK, "Run `make cluster`")


def _compared(name: str, root: Path, lock: Path, remedy: str) -> Check:
    try:
        text = (root / lock).read_text(encoding="utf-8")
    except OSError as error:
        return Check(name, MISSING, f"{root / lock}: {error.strerror}", "Restore it with `git checkout`")
    versions: dict[str, set[str]] = {}
    conditional: set[str] = set()
    for package, version, condition in LOCKED.findall(text):
        versions.setdefault(package, set()).add(version)
        conditional |= {package} if condition else set()
    wrong = []
    for package, locked in versions.items():
        installed = _version(package)
        if installed not in locked and not (installed is None and package in conditional):
            wrong.append(f"{package} is {installed or 'not installed'}, not {' or '.join(sorted(locked))}")
    if wrong:
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check(name, MISSING, f"{'; '.join(wrong[:SHOWN])}{more}", remedy)
    return Check(name, OK, f"those of {lock}, in {sys.prefix}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
