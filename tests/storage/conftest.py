"""A connection to a fresh, migrated database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from heimdall.storage.connection import Connection, connect
from tests.conftest import Services


@pytest.fixture
def connection(database: Services) -> Iterator[Connection]:
    opened = connect(database.endpoints.database)
    yield opened
    opened.close()
