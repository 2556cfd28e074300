"""Where PostgreSQL and S3 are: configured by the environment, else the repository's embedded servers.

The variables are declared in `heimdall.core.variables`; docs/environment.md has them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage import database_url, embedded, s3_access
from heimdall.storage.s3_access import Keys, S3Access

RAW_BUCKET = variables.RAW_BUCKET.read()
DVC_BUCKET = variables.DVC_BUCKET.read()
MODELS_BUCKET = variables.MODELS_BUCKET.read()

DATABASE_VARIABLE = variables.DATABASE_URL.name
S3_VARIABLE = variables.S3_ENDPOINT_URL.name


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials.

    Attributes:
        database_url: PostgreSQL URL or key=value words, with the password.
        s3: The S3 server, with the credentials.
        embedded_database: Whether the database is the embedded server.
    """

    database_url: str = field(repr=False)
    s3: S3Access
    embedded_database: bool

    @property
    def s3_endpoint_url(self) -> str:
        """URL of S3 without credentials and without a slash at the end."""
        return self.s3.endpoint_url

    @property
    def embedded_s3(self) -> bool:
        """Whether S3 is the embedded server."""
        return self.s3.embedded

    @property
    def database_name(self) -> str:
        """`host:port/database`, for messages: no user, no password."""
        return database_url.parse(self.database_url).name


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
    address = servers.database_url if servers and not database_configured() else configured_database_url()
    if servers is None or s3_configured():
        s3 = s3_access.configured()
    else:
        keys = Keys(servers.s3_access_key, servers.s3_secret_key)
        s3 = S3Access(servers.s3_endpoint_url, keys, embedded.REGION, embedded=True)
    return Endpoints(database_url=address, s3=s3, embedded_database=not database_configured())


def as_environment(found: Endpoints) -> dict[str, str]:
    """The variables by which another process finds the same services. They hold the credentials."""
    return {DATABASE_VARIABLE: found.database_url} | found.s3.as_environment()


def _repository(root: Path) -> Path:
    """The repository that `root` belongs to: DVC runs experiments below `.dvc/tmp/exps/`."""
    path = root.resolve()
    for parent in path.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return path


def configured_database_url() -> str:
    """The configured address; refused as `database_url.configured` says."""
    return database_url.configured()
