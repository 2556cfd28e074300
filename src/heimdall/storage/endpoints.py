"""Where PostgreSQL and S3 are: configured by the environment, else the repository's embedded servers.

The variables are declared in `heimdall.core.variables`; docs/environment.md has them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage import embedded

RAW_BUCKET = variables.RAW_BUCKET.read()
DVC_BUCKET = variables.DVC_BUCKET.read()
MODELS_BUCKET = variables.MODELS_BUCKET.read()

DATABASE_VARIABLE = variables.DATABASE_URL.name
S3_VARIABLE = variables.S3_ENDPOINT_URL.name
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
    return bool(variables.DATABASE_URL.read())


def s3_configured() -> bool:
    """Whether the environment names an S3 server, so that none is embedded."""
    return bool(variables.S3_ENDPOINT_URL.read())


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
    database_url = (
        servers.database_url if servers and not database_configured() else configured_database_url()
    )
    if servers is None or s3_configured():
        url, access_key, secret_key, token, region = configured_s3()
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
        variables.AWS_ACCESS_KEY_ID.name: found.s3_access_key,
        variables.AWS_SECRET_ACCESS_KEY.name: found.s3_secret_key,
        variables.AWS_SESSION_TOKEN.name: found.s3_session_token
        or "",  # never the token of other credentials
        variables.AWS_DEFAULT_REGION.name: found.s3_region,
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


def configured_database_url() -> str:
    """The configured URL, refused where part of an unescaped password would be taken for host or database."""
    url = variables.DATABASE_URL.read()
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


def configured_s3() -> tuple[str, str, str, str | None, str]:
    """Configured endpoint, access key, secret key, session token and region."""
    url = variables.S3_ENDPOINT_URL.read().rstrip("/")
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
    for variable in (variables.AWS_ACCESS_KEY_ID, variables.AWS_SECRET_ACCESS_KEY):
        if not variable.read():
            raise HeimdallError(
                variable.name, f"not set, though {S3_VARIABLE} is", "Set both AWS_* variables"
            )
    access_key, secret_key = variables.AWS_ACCESS_KEY_ID.read(), variables.AWS_SECRET_ACCESS_KEY.read()
    token, region = variables.AWS_SESSION_TOKEN.read() or None, variables.AWS_DEFAULT_REGION.read()
    return url, access_key, secret_key, token, region
