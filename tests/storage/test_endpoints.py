"""Where the services are: environment first, embedded servers second, no secret in any message."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import embedded
from heimdall.storage.endpoints import resolve
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.roles import READER
from heimdall.storage.s3_access import Keys
from tests import REPOSITORY

URL = "postgresql://user:s3cret@db.example.org:5433/radio?sslmode=require"
CONFIGURED = {
    "HEIMDALL_DATABASE_URL": URL,
    "HEIMDALL_S3_ENDPOINT_URL": "https://s3.example.org:9000/",
    "AWS_ACCESS_KEY_ID": "access",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
}

TEMPORARY = {"AWS_SESSION_TOKEN": "t0ken"}


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CONFIGURED, "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "HEIMDALL_PORT_BASE"):
        monkeypatch.delenv(name, raising=False)


def configure(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (CONFIGURED | changes).items():
        monkeypatch.setenv(name, value)


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.save(tmp_path, embedded.create(tmp_path))
    configure(monkeypatch, AWS_DEFAULT_REGION="eu-south-1")
    found = resolve(tmp_path)
    assert (found.database.url, found.s3.endpoint_url) == (URL, "https://s3.example.org:9000")
    assert found.s3.keys == Keys("access", "s3cret")
    assert found.s3.region == "eu-south-1"
    assert not found.database.embedded
    assert not found.s3.embedded


def test_temporary_credentials_sign_with_their_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)
    assert resolve(tmp_path).s3.keys == Keys("access", "s3cret")
    configure(monkeypatch, **TEMPORARY)
    found = resolve(tmp_path)
    assert found.as_environment().items() >= TEMPORARY.items()
    assert "t0ken" not in repr(found)
    url = ObjectStore(found.s3, "bucket")._client.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "key"}
    )
    assert "X-Amz-Security-Token=t0ken" in url


def test_embedded_servers_never_get_the_token_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.save(tmp_path, embedded.create(tmp_path))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken")
    assert resolve(tmp_path).as_environment()["AWS_SESSION_TOKEN"] == ""


def test_each_service_is_found_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = embedded.create(tmp_path)
    embedded.save(tmp_path, settings)
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", URL)
    found = resolve(tmp_path)
    assert (found.database.url, found.database.embedded) == (URL, False)
    assert (found.s3.endpoint_url, found.s3.embedded) == ("http://127.0.0.1:18730", True)
    assert found.s3.keys == settings.s3_keys(Identity.READER)


def test_neither_configured_nor_embedded(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="Run `heimdall services up`"):
        resolve(tmp_path)


def test_an_experiment_of_dvc_uses_its_repository(tmp_path: Path) -> None:
    settings = embedded.create(tmp_path)
    embedded.save(tmp_path, settings)
    workspace = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc"
    workspace.mkdir(parents=True)
    assert resolve(workspace).database.url == settings.url_of(READER)


def test_a_copied_folder_does_not_use_the_servers_of_the_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    embedded.save(original, embedded.create(original))
    original.rename(copy)
    with pytest.raises(HeimdallError, match="copied or moved"):
        resolve(copy)


def test_no_secret_in_names_and_representations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = embedded.create(tmp_path)
    configure(monkeypatch)
    found = resolve(tmp_path)
    assert found.database.name == "db.example.org:5433/radio"
    assert "s3cret" not in repr(found)
    assert settings.database_password not in repr(settings)
    assert settings.jwt_keys[0] not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:s3cret@host/name",
        "postgresql://user:s3cret@host",
        "postgresql://user:s3cret@host:port/name",
        "postgresql://user:a/s3cret@host/name",
        "postgresql://user:1/s3cret@host/name",
        "postgresql://user:a@s3cret@host/name",
        "postgresql://user:s3cret@host:0/name",
        "s3cret",
    ],
)
def test_a_malformed_database_url_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    configure(monkeypatch, HEIMDALL_DATABASE_URL=url)
    with pytest.raises(HeimdallError, match="not a PostgreSQL URL") as caught:
        resolve(tmp_path)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("password", ["a%2Fb%40c", "a?b", "a#b", "a[b"])
def test_a_password_is_read_as_libpq_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    url = f"postgresql://user:{password}@host/name?sslmode=require"
    configure(monkeypatch, HEIMDALL_DATABASE_URL=url)
    assert resolve(tmp_path).database.name == "host:5432/name"


@pytest.mark.parametrize(
    "url",
    [
        "s3.example.org",
        "ftp://host",
        "https://user:s3cret@host",
        "http://[host",
        "http://host:99999",
        "http://host:port",
        "http://a host",
    ],
)
def test_a_malformed_s3_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    configure(monkeypatch, HEIMDALL_S3_ENDPOINT_URL=url)
    with pytest.raises(HeimdallError, match="HEIMDALL_S3_ENDPOINT_URL") as caught:
        resolve(tmp_path)
    assert "s3cret" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_is_named_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configure(monkeypatch, AWS_CA_BUNDLE="radio.pem")
    with pytest.raises(HeimdallError, match=f"no such file in {tmp_path}"):
        resolve(tmp_path)
    (tmp_path / "radio.pem").touch()
    assert resolve(tmp_path).s3.as_environment()["AWS_CA_BUNDLE"] == str(tmp_path / "radio.pem")


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_s3_credentials_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    configure(monkeypatch)
    monkeypatch.delenv(missing)
    with pytest.raises(HeimdallError, match=f"{missing}: not set"):
        resolve(tmp_path)


def test_the_file_is_private(tmp_path: Path) -> None:
    embedded.save(tmp_path, embedded.create(tmp_path))
    assert embedded.path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert embedded.folder(tmp_path).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["[1]", '{"root": "/"}', "{"])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: str) -> None:
    embedded.save(tmp_path, embedded.create(tmp_path))
    embedded.path(tmp_path).write_text(content)
    with pytest.raises(HeimdallError, match=r"services\.json"):
        resolve(tmp_path)


@pytest.mark.parametrize("base", ["abc", "80", "60000", "-1", "1e4"])
def test_a_port_base_out_of_range_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("HEIMDALL_PORT_BASE", base)
    with pytest.raises(HeimdallError, match="HEIMDALL_PORT_BASE"):
        embedded.create(tmp_path)


def test_the_ports_of_a_base_are_distinct_and_not_ephemeral() -> None:
    for base in (embedded.MIN_PORT_BASE, embedded.DEFAULT_PORT_BASE, embedded.MAX_PORT_BASE):
        ports = embedded.Ports(base)
        every = [ports.postgresql, *ports.seaweedfs.values()]
        assert len(set(every)) == len(every) == 11
        assert max(every) < 32768


def test_the_default_s3_port_is_the_one_of_the_committed_dvc_remote() -> None:
    config = REPOSITORY / ".dvc" / "config"
    assert f"http://127.0.0.1:{embedded.Ports(embedded.DEFAULT_PORT_BASE).s3}\n" in config.read_text()
