"""The embedded servers' file."""

from __future__ import annotations

import json
from pathlib import Path

from heimdall.storage import embedded


def test_the_state_survives_writing_and_reading(tmp_path: Path) -> None:
    made = embedded.create(tmp_path)
    embedded.save(tmp_path, made)
    assert embedded.load(tmp_path) == made
    assert json.loads(embedded.path(tmp_path).read_text())["port_base"] == made.port_base
    assert len({made.database_password, made.s3_access_key, made.s3_secret_key, *made.jwt_keys}) == 7
