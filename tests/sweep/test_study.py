"""The study in PostgreSQL: its lock, and one that is not there."""

from __future__ import annotations

import uuid
from contextlib import closing

import psycopg2
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import connection
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


def test_nothing_is_made_in_a_database_of_others(services: Services) -> None:
    theirs = services.with_database(f"test_{uuid.uuid4().hex}").endpoints.database
    connection.create_if_missing(theirs)
    with pytest.raises(HeimdallError, match=r"nothing is made there unasked.*database roles sweeper"):
        study.load_study(theirs, "nothing")
    with closing(psycopg2.connect(theirs.url)) as opened, opened, opened.cursor() as cursor:
        cursor.execute("SELECT FROM pg_namespace WHERE nspname = 'optuna'")
        assert cursor.rowcount == 0
        cursor.execute("CREATE SCHEMA optuna; CREATE TABLE optuna.studies (mine int)")
    with pytest.raises(HeimdallError, match=r"that Optuna did not make.*HEIMDALL_DATABASE_URL_SWEEPER"):
        study.load_study(theirs, "nothing")
