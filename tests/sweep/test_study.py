"""The study in PostgreSQL: its lock, and one that is not there."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.sweep import study
from tests.conftest import Services


def test_the_lock_is_given_back_by_the_end_of_its_connection(database: Services) -> None:
    first = study.lock(database.endpoints.database, "study")
    with closing(psycopg2.connect(database.endpoints.database.url)) as other, other.cursor() as cursor:
        take = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
        cursor.execute(take, (study.LOCK, "study"))
        assert cursor.fetchone() == (False,)
        cursor.execute(take, (study.LOCK, "another"))
        assert cursor.fetchone() == (True,)
        first.close()
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (study.LOCK, "study"))


def test_a_missing_study_is_named(database: Services) -> None:
    with pytest.raises(HeimdallError, match="none of that name"):
        study.load_study(database.endpoints.database, "nothing")
