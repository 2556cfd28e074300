"""Text of a database that does not say how it is encoded."""

from __future__ import annotations

import uuid
from contextlib import closing

import pytest

from heimdall.storage import connection as db
from tests.conftest import Services


@pytest.mark.parametrize(
    ("stored", "read"), [("E'\\xc3\\xa9'", "\u00e9"), ("E'a\\xff\\xfe'", "a\\xff\\xfe"), ("'NORTH'", "NORTH")]
)
def test_bytes_that_are_no_text_are_shown_by_their_numbers(
    services: Services, stored: str, read: str
) -> None:
    name = f"bytes_{uuid.uuid4().hex[:8]}"
    with closing(db.connect(services.endpoints.database)) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor:
            options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            cursor.execute(f"CREATE DATABASE {name} {options}")
    with closing(db.connect(services.with_database(name).endpoints.database)) as opened:
        with opened, opened.cursor() as cursor:
            cursor.execute(f"CREATE TABLE one AS SELECT {stored}::text AS word")
        with opened, opened.cursor(name="of_the_server") as cursor:
            cursor.execute("SELECT word FROM one")
            assert cursor.fetchmany(5) == [(read,)]
