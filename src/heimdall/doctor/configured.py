"""Services that the environment names: are their settings well formed, and does anything answer there?"""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.doctor.report import MISSING, OK, WARNING, Check
from heimdall.storage import database_url, endpoints, s3_access

TIMEOUT_S = 3.0
SCHEME_PORTS = {"http": 80, "https": 443}


def services() -> list[Check]:
    """PostgreSQL, S3 and MLflow's server, where a variable names one. No secret is in what is said."""
    found = []
    if endpoints.database_configured():
        found.append(_database())
    if endpoints.s3_configured():
        found.append(_s3())
    mlflow = urlsplit(variables.MLFLOW_TRACKING_URI.read())
    if mlflow.scheme in SCHEME_PORTS and mlflow.hostname:
        port = mlflow.port or SCHEME_PORTS[mlflow.scheme]
        remedy = "Trainings go on without it; `heimdall track` sends their records later"
        found.append(_reached("MLflow", mlflow.hostname, port, remedy, WARNING))
    return found


def answers(host: str, port: int, timeout_s: float = TIMEOUT_S) -> str:
    """Whether a host accepts a TCP connection.

    Args:
        host: Name or address.
        port: Its port.
        timeout_s: After so many seconds it does not, the search for its address included.

    Returns:
        Why it does not; empty if it does.
    """
    problem = [f"no answer within {timeout_s:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout_s).close()
            problem[0] = ""
        except TimeoutError:
            pass  # as it stands there
        except OSError as error:
            problem[0] = error.strerror or str(error)

    # In a thread that may be left behind: nothing bounds the time that a name server takes.
    search = threading.Thread(target=connect, daemon=True)
    search.start()
    search.join(timeout_s)
    return problem[0]


def _database() -> Check:
    try:
        found = endpoints.database()
        address = database_url.parse(found.url, found.variable)
    except ImportError:
        return Check("PostgreSQL", OK, "configured; its address is read after the installation")
    except HeimdallError as error:
        return Check("PostgreSQL", MISSING, f"{error.subject}: {error.cause}", error.remedy)
    remedy = f"Start it, or correct {found.variable}; unset, an embedded server is used"
    hosts = [(host, port) for host, port in address.hosts if host and not host.startswith(("/", "@"))]
    if len(hosts) != 1:  # a socket, a service, or several of which one must answer
        return Check("PostgreSQL", OK, f"{address.name}, which libpq finds when it connects")
    return _reached("PostgreSQL", *hosts[0], remedy)


def _s3() -> Check:
    try:
        url = urlsplit(s3_access.configured().endpoint_url)
    except HeimdallError as error:
        return Check("S3", MISSING, f"{error.subject}: {error.cause}", error.remedy)
    port = url.port or SCHEME_PORTS[url.scheme]
    remedy = f"Start it, or correct {endpoints.S3_VARIABLE}; unset, an embedded server is used"
    return _reached("S3", str(url.hostname), port, remedy)


def _reached(name: str, host: str, port: int, remedy: str, otherwise: str = MISSING) -> Check:
    problem = answers(host, port)
    if problem:
        return Check(name, otherwise, f"{host}:{port} cannot be reached ({problem})", remedy)
    return Check(name, OK, f"{host}:{port} answers")
