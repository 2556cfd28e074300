"""Where PostgreSQL and S3 are: configured by the environment, else the repository's embedded servers.

The variables are declared in `heimdall.core.variables`; docs/environment.md has them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.core.variables import Variable
from heimdall.storage import database_url, embedded, s3_access
from heimdall.storage.identities import Identity
from heimdall.storage.roles import READER, Role
from heimdall.storage.s3_access import S3Access

RAW_BUCKET = variables.RAW_BUCKET.read()
DVC_BUCKET = variables.DVC_BUCKET.read()
MODELS_BUCKET = variables.MODELS_BUCKET.read()

DATABASE_VARIABLE = variables.DATABASE_URL.name
S3_VARIABLE = variables.S3_ENDPOINT_URL.name


@dataclass(frozen=True)
class Database:
    """Where PostgreSQL is, and the credentials.

    Attributes:
        url: PostgreSQL URL or key=value words, with the password.
        embedded: Whether it is the embedded server.
        variable: Has the address, where the server is not embedded.
    """

    url: str = field(repr=False)
    embedded: bool
    variable: str = DATABASE_VARIABLE

    @property
    def name(self) -> str:
        """`host:port/database`, for messages: no user, no password."""
        return database_url.parse(self.url).name

    def as_environment(self) -> dict[str, str]:
        """The variables by which another process finds the same database. They hold the password."""
        return {DATABASE_VARIABLE: self.url}


@dataclass(frozen=True)
class Endpoints:
    """Both services, for what needs both.

    Attributes:
        database: Where PostgreSQL is.
        s3: Where S3 is.
    """

    database: Database
    s3: S3Access

    def as_environment(self) -> dict[str, str]:
        """The variables by which another process finds the same services. They hold the credentials."""
        return self.database.as_environment() | self.s3.as_environment()


def database_configured() -> bool:
    """Whether the environment names a database, be it for one role alone, so that none is embedded."""
    return any(variable.read() for variable in variables.DATABASE_URLS)


def configured_environment(role: Role) -> dict[str, str]:
    """What a child process needs to find a configured database as a role; nothing where it is embedded."""
    address = _variable_of(role).read()
    return {DATABASE_VARIABLE: address} if address else {}


def s3_configured() -> bool:
    """Whether the environment names an S3 server, so that none is embedded."""
    return bool(variables.S3_ENDPOINT_URL.read())


def resolve(root: Path = Path(), role: Role = READER, identity: Identity = Identity.READER) -> Endpoints:
    """Find both services, each on its own, as `database` and `s3` do. Nothing is contacted.

    Args:
        root: As of `database`.
        role: As of `database`.
        identity: As of `s3`.

    Raises:
        HeimdallError: As of them.
    """
    return Endpoints(database(root, role), s3(root, identity))


def database(root: Path = Path(), role: Role = READER) -> Database:
    """Where PostgreSQL is: what the environment names, else the embedded server. Nothing is contacted.

    Args:
        root: The repository, or a workspace of `dvc exp run --temp` inside it.
        role: As whom.

    Raises:
        HeimdallError: The address is malformed or refused, only other roles have one, or there is neither.
    """
    if database_configured():
        variable = _variable_of(role)
        if not variable.read():  # the embedded server would be another database than the others'
            cause = f"not set, and neither is {DATABASE_VARIABLE}, but another role's address is"
            raise HeimdallError(role.variable.name, cause, f"Set it to the address of the {role.kind}")
        return Database(database_url.configured(variable), embedded=False, variable=variable.name)
    return Database(_servers(root, "PostgreSQL", DATABASE_VARIABLE).url_of(role), embedded=True)


def administrator(root: Path = Path()) -> Database:
    """PostgreSQL as who may make databases and roles: the address for all, else the embedded server's owner.

    Args:
        root: As of `database`.

    Raises:
        HeimdallError: As of `database`.
    """
    if variables.DATABASE_URL.read():
        return Database(database_url.configured(variables.DATABASE_URL), embedded=False)
    return Database(_servers(root, "PostgreSQL", DATABASE_VARIABLE).database_url, embedded=True)


def s3(root: Path = Path(), identity: Identity = Identity.READER) -> S3Access:
    """Where S3 is: what the environment names, else the embedded server. Nothing is contacted.

    Args:
        root: As of `database`.
        identity: Whose keys of the embedded server. The environment's are those of whoever set them.

    Raises:
        HeimdallError: A variable is malformed or incomplete, or there is neither.
    """
    if s3_configured():
        return s3_access.configured()
    servers = _servers(root, "S3", S3_VARIABLE)
    return S3Access(servers.s3_endpoint_url, servers.s3_keys(identity), embedded.REGION, embedded=True)


def _variable_of(role: Role) -> Variable:
    """Which variable has the address for a role: its own, else the one for all."""
    return role.variable if role.variable.read() else variables.DATABASE_URL


def _servers(root: Path, service: str, variable: str) -> embedded.State:
    """The embedded servers of a repository."""
    servers = embedded.load(_repository(root))
    if servers is None:
        raise HeimdallError(
            service,
            "no embedded server here, and the environment names no other",
            f"Run `heimdall services up`, or set {variable}",
        )
    return servers


def _repository(root: Path) -> Path:
    """The repository that `root` belongs to: DVC runs experiments below `.dvc/tmp/exps/`."""
    path = root.resolve()
    for parent in path.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return path
