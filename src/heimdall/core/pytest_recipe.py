"""Tests compute in the recipe's environment: pyproject.toml loads this with `-p`.

A plugin named on the command line is imported before pytest captures output. conftest.py would be too
late: what a process prints that replaced itself there is lost. Workers of pytest-xdist inherit the
environment.
"""

from __future__ import annotations

from pathlib import Path

from heimdall.core import determinism

determinism.ensure(Path(__file__).parents[3] / determinism.PARAMS_FILE)
