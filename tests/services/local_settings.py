"""What `.dvc/config.local` says of the remote."""

from __future__ import annotations

import configparser
from pathlib import Path

REMOTE = "'remote \"s3\"'"


def remote(root: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(root / ".dvc" / "config.local")
    return dict(parser.items(REMOTE)) if parser.has_section(REMOTE) else {}
