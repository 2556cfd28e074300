"""The tests: a folder for each room of the package, and in pipeline/ the commands that a user types."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
