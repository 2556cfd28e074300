"""What is said when PostgreSQL is not there, refuses, or is lost."""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import uuid
from contextlib import suppress

import psycopg2
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import database_errors
from heimdall.storage.connection import Connection, connect, create_if_missing, transaction
from heimdall.storage.endpoints import Database
from tests.conftest import Services
from tests.database_rows import read_approved
from tests.storage.example_rows import NOON


def test_a_server_lost_in_between_is_one_clear_error(database: Services, connection: Connection) -> None:
    killer = connect(database.endpoints.database)
    with killer, killer.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    killer.close()
    for _ in range(2):  # while the loss is noticed, and after
        with pytest.raises(HeimdallError, match=database.endpoints.database.name) as caught:
            read_approved(connection, NOON)
        assert "\n" not in str(caught.value)


def test_missing_tables_say_what_to_do(services: Services) -> None:
    empty = services.with_database(f"test_{uuid.uuid4().hex}").endpoints.database
    create_if_missing(empty)
    opened = connect(empty)
    said = r"no tables of Heimdall in schema heimdall\. Run `heimdall database migrate`"
    with pytest.raises(HeimdallError, match=said):
        read_approved(opened, NOON)
    opened.close()


def test_wrong_password_unknown_database_and_no_server(services: Services) -> None:
    good = services.endpoints.database
    password = good.url.split(":")[2].split("@")[0]
    wrong = dataclasses.replace(good, url=good.url.replace(password, "s3cret"))
    with pytest.raises(HeimdallError, match="authentication failed") as caught:
        connect(wrong)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(HeimdallError, match=r'"nowhere" does not exist'):
        connect(services.with_database("nowhere").endpoints.database)
    nobody = dataclasses.replace(good, url="postgresql://user:s3cret@127.0.0.1:1/radio")
    with pytest.raises(HeimdallError, match=r"127\.0\.0\.1:1/radio: Connection refused") as caught:
        connect(nobody)
    assert "s3cret" not in str(caught.value)


def test_a_url_that_libpq_refuses_is_not_repeated(services: Services) -> None:
    odd = Database("postgresql://user:s3cret@host/name?nonsense=1", embedded=False)
    with pytest.raises(HeimdallError, match="not a PostgreSQL URL") as caught:
        connect(odd)
    assert "s3cret" not in str(caught.value)


def test_the_driver_is_psycopg2s(connection: Connection) -> None:
    assert isinstance(connection, psycopg2.extensions.connection)
    with transaction(connection) as cursor:
        cursor.execute("SHOW timezone")
        assert cursor.fetchone() == ("UTC",)


@pytest.mark.parametrize(
    ("said", "hopeless", "remedy"),
    [
        ("FATAL:  sorry, too many clients already", False, "Close other connections"),
        ("FATAL:  the database system is starting up", False, "Run it again when the server is up"),
        ("FATAL:  the database system is not yet accepting connections", False, "Run it again when"),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "a", database "b", no encryption',
            True,
            "TLS",
        ),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "a", SSL encryption', True, "administrator"),
        ('FATAL:  role "a" does not exist', True, "Create that user"),
        ('FATAL:  role "a" is not permitted to log in', True, "LOGIN"),
        ("SSL error: certificate verify failed", True, "sslrootcert=FILE"),
        ('root certificate file "/none.pem" does not exist', True, "sslrootcert=FILE"),
        ('server certificate for "a" does not match host name "b"', True, "a name that the certificate has"),
        ("server closed the connection unexpectedly", False, "its log says why"),
        ("timeout expired", False, "Correct host and port"),
        ("FATAL:  Rolle »a« hat keine Berechtigung zum Einloggen", True, "LOGIN"),
        (
            "FATAL:  la base de données « radio » n'existe pas",
            True,
            "database in HEIMDALL_DATABASE_URL_READER",
        ),
        ("FATAL:  das Datenbanksystem startet", False, "a server that is starting"),
        ("something that nobody foresaw", False, "heimdall services status"),
    ],
)
def test_what_libpq_says_of_servers_that_are_not_here_has_its_remedy(
    said: str, hopeless: bool, remedy: str
) -> None:
    error = psycopg2.OperationalError(f'connection to server at "a", port 5432 failed: {said}\nDETAIL: more')
    found = database_errors.explained("a:5432/radio", error, variable="HEIMDALL_DATABASE_URL_READER")
    assert found.cause == said.removeprefix("FATAL:  ")
    assert remedy in found.remedy
    assert database_errors.is_hopeless(error, ("a", "radio")) == hopeless


def test_a_refusal_in_another_encoding_is_one_line() -> None:
    refusal = b"SFATAL\0C28P01\0Mautenticaci\xf3n password fall\xf3 para el usuario \xabradio\xbb\0\0"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with suppress(OSError):  # until it is closed
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(1000)
                        client.sendall(b"E" + struct.pack("!I", len(refusal) + 4) + refusal)
                        client.recv(1000)  # until the other side has read it and leaves

        threading.Thread(target=refuse, daemon=True).start()
        url = f"postgresql://radio:secret@127.0.0.1:{server.getsockname()[1]}/radio?sslmode=disable"
        with pytest.raises(HeimdallError, match=r"autenticaci.xf3n.*Correct user, password and database"):
            connect(Database(url, embedded=False))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT pg_temp.no()", "`heimdall database check` says which GRANT"),
        ("INSERT INTO pg_temp.a SELECT pg_temp.no()", "`heimdall database roles operator` prints the rights"),
    ],
)
def test_a_refusal_in_another_language_has_its_remedy_by_its_code(
    statement: str, told: str, connection: Connection
) -> None:
    with pytest.raises(HeimdallError, match=f"Berechtigung.*{told}"), transaction(connection) as cursor:
        cursor.execute(
            "CREATE TEMP TABLE a (b int); CREATE FUNCTION pg_temp.no() RETURNS int LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE EXCEPTION 'keine Berechtigung für Tabelle a' USING ERRCODE = '42501'; END $$"
        )
        cursor.execute(statement)
