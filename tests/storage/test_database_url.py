"""Addresses of PostgreSQL in every form that libpq takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import database_url
from heimdall.storage.connection import connect
from heimdall.storage.endpoints import Database
from heimdall.sweep import study
from tests.conftest import Services

SERVICE_FILE = "[radio]\nhost=127.0.0.1\nport={port}\ndbname={name}\nuser=heimdall\npassword={password}\n"


@pytest.fixture(autouse=True)
def _nothing_of_libpqs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGSSLMODE", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HEIMDALL_DATABASE_WITHOUT_TLS", raising=False)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("postgresql://u:p@a:1,b:2/radio?target_session_attrs=any", "a:1,b:2/radio"),
        ("postgresql://u@a,b/radio", "a:5432,b:5432/radio"),
        ("postgres:///radio?host=/var/run/postgresql", "/var/run/postgresql:5432/radio"),
        ("postgresql://%2Fvar%2Frun/radio", "/var/run:5432/radio"),
        ("postgresql:///radio", "socket:5432/radio"),
        ("postgresql://[::1]:5433/radio", "[::1]:5433/radio"),
        ("postgresql://u:%2F%40%3A@a/r%C3%A4dio", "a:5432/rädio"),
        ("host=a,b port=1 dbname=radio password='it''s'", None),
        ("host=a,b port=1 dbname=radio password='it\\'s'", "a:1,b:1/radio"),
        ("service=radio", "service radio"),
        ("hostaddr=10.0.0.5 dbname=radio", "10.0.0.5:5432/radio"),
    ],
)
def test_each_form_is_named_without_its_secrets(text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(HeimdallError, match="not a PostgreSQL URL"):
            database_url.parse(text)
    else:
        assert database_url.parse(text).name == name


@pytest.mark.parametrize(
    "address",
    [
        "host=db.example dbname=r",
        "postgresql://127.0.0.1,db.example/r?sslmode=prefer",
        "host=localhost hostaddr=10.0.0.5 dbname=r",
        "host=db.example,localhost hostaddr=,127.0.0.1 dbname=r",  # the first is reached by its name
    ],
)
def test_another_machine_needs_tls_or_its_name_in_a_variable(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = database_url.parse(address)
    with pytest.raises(
        HeimdallError, match=r"another machine.*sslmode=require.*HEIMDALL_DATABASE_WITHOUT_TLS"
    ):
        database_url.require_tls(read)
    monkeypatch.setenv("HEIMDALL_DATABASE_WITHOUT_TLS", "db.example, 10.0.0.5")
    database_url.require_tls(read)
    monkeypatch.delenv("HEIMDALL_DATABASE_WITHOUT_TLS")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    if "sslmode" not in address:
        database_url.require_tls(read)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://[::1]/r",
        "host=/tmp,localhost hostaddr=,127.0.0.1 dbname=r",
        "dbname=r",
        "host=127.9.9.9 dbname=r",
    ],
)
def test_this_machine_needs_no_tls(address: str) -> None:
    database_url.require_tls(database_url.parse(address))


@pytest.fixture
def forms(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Addresses of the tests' own server; the files that they need are there."""
    given = database_url.parse(services.endpoints.database.url)
    port, password, name = given.hosts[0][1], given.password, given.parameters["dbname"]
    (tmp_path / "services").write_text(SERVICE_FILE.format(port=port, name=name, password=password))
    passfile = tmp_path / "pass"
    passfile.write_text(f"127.0.0.1:{port}:*:heimdall:{password}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    yield {
        "several hosts": f"postgresql://heimdall:{password}@127.0.0.1:1,127.0.0.1:{port}/{name}",
        "words": f"host=127.0.0.1 port={port} user=heimdall password={password} dbname={name}",
        "a password file": f"postgresql://heimdall@127.0.0.1:{port}/{name}?passfile={passfile}",
        "a service": "service=radio",
        "percent signs": f"postgresql://heimdall:{password}@%31%32%37.0.0.1:{port}/{name}",
    }


@pytest.mark.parametrize("form", ["several hosts", "words", "a password file", "a service", "percent signs"])
def test_a_server_is_reached_and_has_the_studies_of_sweeps_by(
    form: str, forms: dict[str, str], services: Services
) -> None:
    where = Database(forms[form], embedded=False)
    with closing(connect(where)) as opened, opened.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("heimdall",)
    assert study._storage(where, None).get_all_studies() == []


def test_a_service_of_the_environment_counts_and_its_other_machine_is_not_taken_for_a_socket(
    forms: dict[str, str], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forms
    monkeypatch.setenv("PGSERVICE", "radio")
    where = Database("postgresql:///", embedded=False)
    assert where.name == "service radio"
    connect(where).close()
    monkeypatch.setattr(database_url, "is_local", lambda host: host != "127.0.0.1")
    file = Path(os.environ["PGSERVICEFILE"])
    for named in (file.read_text(), file.read_text().replace("host=", "hostaddr=127.0.0.1\nhost=local")):
        file.write_text(named)
        with pytest.raises(HeimdallError, match=r"PostgreSQL 127\.0\.0\.1: it is on another machine"):
            connect(where)


def test_what_each_of_several_servers_said_is_told(services: Services) -> None:
    url = "postgresql://u:s3cret@127.0.0.1:1,127.0.0.1:2/radio"
    with pytest.raises(HeimdallError, match=r"port 1 failed: .*refused.*port 2 failed: .*refused") as caught:
        connect(Database(url, embedded=False))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
