"""What a process that we start is told: our environment without what leads to services it does not need."""

from __future__ import annotations

import os
from enum import Enum

from heimdall.core import variables
from heimdall.core.variables import Variable

# What any program needs, and no secret of anybody's.
_NEEDED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("LD_LIBRARY_PATH", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    )
)
_NEEDED_KINDS = ("LC_", "PYTHON")


_DATABASE_URLS = variables.DATABASE_URL.name  # and those of roles begin with it


class Service(Enum):
    """What a process may have to reach: the beginnings of the names of the variables that lead there.

    Heimdall's own database is not among them: its address differs by role, so who starts a process that needs
    it gives the one (`endpoints.Database.as_environment`).
    """

    LIBPQ = ("PG",)  # of any PostgreSQL: Heimdall's, or MLflow's
    S3 = ("HEIMDALL_S3_", "AWS_")
    MLFLOW = ("MLFLOW_",)


def environment(*services: Service) -> dict[str, str]:
    """This process's environment, for a child.

    Args:
        services: What the child has to reach. Addresses and credentials of the others are left out.
    """
    withheld = (_DATABASE_URLS, *_starts(*(service for service in Service if service not in services)))
    return {name: value for name, value in os.environ.items() if not name.startswith(withheld)}


def bare_environment(*services: Service) -> dict[str, str]:
    """As `environment`, for a server that stays: of all else only what any program needs.

    Args:
        services: As of `environment`.
    """
    kinds = _NEEDED_KINDS + _starts(*services)
    return {
        name: value for name, value in os.environ.items() if name.upper() in _NEEDED or name.startswith(kinds)
    }


def forget(*services: Service, database: Variable | None = None) -> None:
    """Take out of this process's own environment what leads to services that it has no need of.

    Its children have none of it. What the system shows as the environment of a process (/proc/PID/environ) is
    that of its start, until it replaces itself.

    Args:
        services: Those that it has to reach.
        database: Has the address by which it reaches Heimdall's own database, if it does.
    """
    kept = set() if database is None else {database.name}
    for name in os.environ.keys() - environment(*services).keys() - kept:
        del os.environ[name]


def _starts(*services: Service) -> tuple[str, ...]:
    """The beginnings of the names of their variables."""
    return tuple(start for service in services for start in service.value)
