"""Where runs go: MLflow's address, the place of their files, the variables that MLflow needs.

Runs go to MLFLOW_TRACKING_URI, else to .heimdall/mlflow.db of the repository. Their files go to the bucket
`heimdall-mlflow` (HEIMDALL_MLFLOW_BUCKET) of the S3 server in use, without one to .heimdall/mlartifacts/,
and to where an MLflow server says if MLFLOW_TRACKING_URI names one: where that is a bucket, to the S3 server
in use, or to that of MLFLOW_S3_ENDPOINT_URL with the environment's AWS_* credentials. MLflow fixes the place
when it makes an experiment.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from heimdall.core import variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.storage import endpoints
from heimdall.storage.identities import Identity
from heimdall.storage.s3_access import S3Access

BUCKET = variables.MLFLOW_BUCKET.read()


SCRATCH = ".heimdall"


S3_VARIABLE = variables.MLFLOW_S3_ENDPOINT_URL.name  # MLflow's own


CONNECT_TIMEOUT_S = 5


DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


LIMITS = {variable.name: variable.default for variable in variables.MLFLOW_LIMITS}


@dataclass(frozen=True)
class Store:
    """Where runs go.

    Attributes:
        uri: MLflow's tracking address, with its password.
        artifacts: Where a new experiment's files go; None where a server decides.
        folder: Where MLflow runs: it makes folders of its own there.
        s3: The S3 server of the files, None where they go elsewhere.
        environment: Variables that MLflow needs. They hold credentials.
    """

    uri: str = field(repr=False)
    artifacts: str | None
    folder: Path
    s3: S3Access | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The address without secrets."""
        return without_secrets(self.uri)

    @property
    def is_server(self) -> bool:
        """Whether it is an MLflow server, not a database."""
        return self.uri.startswith(("http://", "https://"))


def services(uri: str) -> tuple[Service, ...]:
    """What a process with MLflow has to reach: the store, and S3 for its files.

    Args:
        uri: MLflow's tracking address. A database of PostgreSQL may need libpq's variables.
    """
    libpq = (Service.LIBPQ,) if uri.startswith("postgres") else ()
    return (Service.MLFLOW, Service.S3, *libpq)


def is_off() -> bool:
    """Whether HEIMDALL_TRACKING leaves MLflow out."""
    return variables.TRACKING.is_off()


def main_repository() -> Path:
    """The repository that has the store: in a workspace of `dvc exp run --temp` or --queue the one above it.

    DVC names it in DVC_ROOT for every stage that it runs.
    """
    return Path(variables.DVC_ROOT.read()).resolve()


def resolve(root: Path) -> Store:
    """The store of a repository. Nothing is contacted; its folder is made.

    Args:
        root: As of `main_repository`.
    """
    folder = root / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    # A proxy of the environment cannot reach this machine's loopback interface.
    direct = ",".join(
        filter(None, (variables.NO_PROXY.read(), variables.NO_PROXY_LOWER.read(), "127.0.0.1,localhost"))
    )
    environment = LIMITS | {"NO_PROXY": direct, "no_proxy": direct}
    uri = address(root)
    by_server = uri.startswith(("http://", "https://"))
    try:
        # Where the user names another S3 server for an MLflow server's files, its credentials are theirs.
        s3 = (
            None
            if by_server and variables.MLFLOW_S3_ENDPOINT_URL.read()
            else endpoints.s3(root, Identity.TRACKER)
        )
    except HeimdallError:
        s3 = None
    if s3 is not None:
        environment |= s3.as_environment() | {S3_VARIABLE: s3.endpoint_url}
    folder_of_files = f"s3://{BUCKET}" if s3 is not None else str(folder / "mlartifacts")
    return Store(uri, None if by_server else folder_of_files, folder, s3, environment)


def address(root: Path) -> str:
    """MLflow's tracking address, with its password; a file of SQLite is relative to the repository.

    PostgreSQL's names the driver that is installed: SQLAlchemy takes plain postgresql:// for psycopg 3.
    """
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", variables.MLFLOW_TRACKING_URI.read())
    file = uri.removeprefix("sqlite:///")
    return f"sqlite:///{root / file}" if file != uri else uri


def without_secrets(text: str) -> str:
    """Remove user and password from every address in a text, also those that were not escaped."""
    return re.sub(r"([?&]password=)[^&\s]*", r"\1", re.sub(r"(://)\S*@", r"\1", text))


def require_answer(store: Store) -> None:
    """Raise a `HeimdallError` unless a store's database server takes connections.

    MLflow itself would try for two minutes.
    """
    parts = urlsplit(store.uri)
    kind = parts.scheme.partition("+")[0]
    if kind not in DATABASE_PORTS or not parts.hostname:
        return
    place = (parts.hostname, parts.port or DATABASE_PORTS[kind])
    try:
        socket.create_connection(place, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        cause = f"it does not answer ({error.strerror or error})"
        raise HeimdallError(store.name, cause, "Start that server, or correct MLFLOW_TRACKING_URI") from None
