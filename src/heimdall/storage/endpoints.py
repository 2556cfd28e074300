"""Where PostgreSQL and S3 are: configured by the environment, else the repository's embedded servers.

| variable | meaning |
|---|---|
| `HEIMDALL_DATABASE_URL` | `postgresql://user:password@host:5432/database` |
| `HEIMDALL_S3_ENDPOINT_URL` | `https://host:9000` |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION` | for that S3 server |
| `AWS_SESSION_TOKEN` | the same, of temporary credentials |
| `HEIMDALL_RAW_BUCKET`, `HEIMDALL_DVC_BUCKET`, `HEIMDALL_MODELS_BUCKET` | other bucket names |
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from heimdall.core.errors import HeimdallError
from heimdall.storage import embedded

RAW_BUCKET = os.environ.get("HEIMDALL_RAW_BUCKET") or "heimdall-raw-iq"
DVC_BUCKET = os.environ.get("HEIMDALL_DVC_BUCKET") or "heimdall-dvc"
MODELS_BUCKET = os.environ.get("HEIMDALL_MODELS_BUCKET") or "heimdall-models"

DATABASE_VARIABLE = "HEIMDALL_DATABASE_URL"
S3_VARIABLE = "HEIMDALL_S3_ENDPOINT_URL"
DEFAULT_POSTGRESQL_PORT = 5432


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials.

    Attributes:
        database_url: PostgreSQL URL, with the password.
        s3_endpoint_url: URL without credentials and without a slash at the end.
        s3_access_key: Access key.
        s3_secret_key: Secret key.
        s3_session_token: Of temporary credentials; None of others.
        s3_region: Region for signatures.
        embedded_database: Whether the database is the embedded server.
        embedded_s3: Whether S3 is the embedded server.
    """

    database_url: str = field(repr=False)
    s3_endpoint_url: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    s3_session_token: str | None = field(repr=False)
    s3_region: str
    embedded_database: bool
    embedded_s3: bool

    @property
    def database_name(self) -> str:
        """`host:port/database`, for messages: no user, no password."""
        parts = urlsplit(self.database_url)
        return f"{parts.hostname}:{parts.port or DEFAULT_POSTGRESQL_PORT}/{unquote(parts.path.lstrip('/'))}"


def database_configured() -> bool:
    """Whether the environment names a database, so that none is embedded."""
    return bool(os.environ.get(DATABASE_VARIABLE))


def s3_configured() -> bool:
    """Whether the environment names an S3 server, so that none is embedded."""
    return bool(os.environ.get(S3_VARIABLE))


def resolve(root: Path = Path()) -> Endpoints:
    """Find both services, each on its own: the environment first, else the embedded server.

    Args:
        root: The repository, or a workspace of `dvc exp run --temp` inside it.

    Returns:
        The endpoints. Nothing is contacted.

    Raises:
        HeimdallError: A variable is malformed or incomplete, or a service is neither configured nor embedded.
    """
    servers = None
    if not (database_configured() and s3_configured()):
        servers = embedded.load(_repository(root))
        if servers is None:
            raise HeimdallError(
                "PostgreSQL and S3",
                "no embedded servers here, and the environment names no others",
                f"Run `heimdall services up`, or set {DATABASE_VARIABLE} and {S3_VARIABLE}",
            )
    database_url = _database_url() if servers is None or database_configured() else servers.database_url
    if servers is None or s3_configured():
        url, access_key, secret_key, token, region = _s3()
    else:
        url, region = servers.s3_endpoint_url, embedded.REGION
        access_key, secret_key, token = servers.s3_access_key, servers.s3_secret_key, None
    return Endpoints(
        database_url=database_url,
        s3_endpoint_url=url,
        s3_access_key=access_key,
        s3_secret_key=secret_key,
        s3_session_token=token,
        s3_region=region,
        embedded_database=not database_configured(),
        embedded_s3=not s3_configured(),
    )


def as_environment(found: Endpoints) -> dict[str, str]:
    """The variables by which another process finds the same services. They hold the credentials."""
    return {
        DATABASE_VARIABLE: found.database_url,
        S3_VARIABLE: found.s3_endpoint_url,
        "AWS_ACCESS_KEY_ID": found.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": found.s3_secret_key,
        "AWS_SESSION_TOKEN": found.s3_session_token or "",  # never the token of other credentials
        "AWS_DEFAULT_REGION": found.s3_region,
    }


def _repository(root: Path) -> Path:
    """The repository that `root` belongs to: DVC runs experiments below `.dvc/tmp/exps/`."""
    path = root.resolve()
    for parent in path.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return path


def _split(url: str) -> SplitResult:
    """The parts of a URL; all empty where it is none, as with a bracket or a port that is no port."""
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else urlsplit("")
    except ValueError:
        return urlsplit("")


def _database_url() -> str:
    """The configured URL, refused where part of an unescaped password would be taken for host or database."""
    url = os.environ[DATABASE_VARIABLE]
    parts = _split(url)
    name = parts.path.removeprefix("/")
    if (
        parts.scheme not in ("postgresql", "postgres")
        or not parts.hostname
        or not name
        or "/" in name
        or parts.fragment
        or parts.netloc.count("@") > 1
        or "@" in name + parts.query
    ):
        raise HeimdallError(
            DATABASE_VARIABLE,
            "not a PostgreSQL URL",
            "Set it to postgresql://user:password@host:5432/database, special characters as %XX",
        )
    return url


def _s3() -> tuple[str, str, str, str | None, str]:
    """Configured endpoint, access key, secret key, session token and region."""
    url = os.environ[S3_VARIABLE].rstrip("/")
    parts = _split(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in url
        or any(character.isspace() for character in url)
    ):
        raise HeimdallError(
            S3_VARIABLE,
            "not an http or https URL without credentials",
            "Set it to https://host:9000, for example",
        )
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not os.environ.get(variable):
            raise HeimdallError(variable, f"not set, though {S3_VARIABLE} is", "Set both AWS_* variables")
    region = os.environ.get("AWS_DEFAULT_REGION") or embedded.REGION
    access_key, secret_key = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    return url, access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN") or None, region
