"""All checks in the order in which a person reads them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from heimdall.doctor import configured, machine
from heimdall.doctor.report import OK, Check


def before_installation(root: Path) -> list[Check]:
    """What can be looked at without any package.

    Args:
        root: The clone.

    Returns:
        The checks. Nothing was changed, and nothing waited for longer than some seconds.
    """
    python = machine.python()
    found = [
        python,
        machine.virtual_environments(),
        machine.processor(
            os.uname().sysname, os.uname().machine, _text("/proc/cpuinfo"), platform.libc_ver()[0]
        ),
        *machine.disk(root),
        machine.memory(_text("/proc/meminfo")),
        *machine.programs(),
        machine.clone(root),
        machine.rights(root),
        machine.ports(root),
    ]
    # What reads the settings of services is written for a Python that fits.
    return found + (configured.services() if python.state == OK else [])


def _text(path: str) -> str:
    """A text of the system; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
