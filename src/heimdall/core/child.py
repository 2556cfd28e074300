"""What a process that we start is told: our environment without what leads to services it does not need."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

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
# What else the code of a revision and DVC, which runs it, may be set by: shell and interpreter, Heimdall, DVC
# and git, and what computes. DVC_STUDIO_TOKEN and what git signs in with are not among them.
_OF_CODE = frozenset(
    (
        *(
            "SHELL",
            "TERM",
            "KRB5CCNAME",
            "KRB5_CONFIG",
            "COLUMNS",
            "NO_COLOR",
            "CI",
            "SOURCE_DATE_EPOCH",
            "LD_PRELOAD",
        ),
        *("VIRTUAL_ENV", "CONDA_PREFIX"),
    )
)
_OF_CODE_KINDS = (
    *("HEIMDALL_", "XDG_", "GIT_CONFIG", "GIT_AUTHOR_", "GIT_COMMITTER_"),
    *("DVC_ROOT", "DVC_EXP_", "DVC_NO_", "DVC_IGNORE_", "DVC_GLOBAL_", "DVC_SYSTEM_", "DVC_SITE_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "TORCH", "PYTORCH_", "ATEN_", "ONEDNN_", "DNNL_", "MKL_"),
    *("OMP_", "KMP_", "GOMP_", "OPENBLAS_", "NPY_", "NUMEXPR_", "MALLOC_", "MPL"),
)
# Name files, which libraries look for in the folder of their process.
_FILES = frozenset(
    (
        *(variable.name for variable in (*variables.AWS_FILES, variables.RAY_AUTH_TOKEN_PATH)),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("PGPASSFILE", "PGSERVICEFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"),
    )
)

_SET_SIGNAL_OF_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux
_DATABASE_URLS = variables.DATABASE_URL.name  # and those of roles begin with it


class Service(Enum):
    """What a process may have to reach: the beginnings of the names of the variables that lead there.

    Heimdall's own database is not among them: its address differs by role, so who starts a process that needs
    it gives the one (`endpoints.Database.as_environment`).
    """

    LIBPQ = ("PG",)  # of any PostgreSQL: Heimdall's, or MLflow's
    S3 = ("HEIMDALL_S3_", "AWS_")
    MLFLOW = ("MLFLOW_",)
    CLUSTER = ("HEIMDALL_RAY_", "RAY_")


def environment(*services: Service) -> dict[str, str]:
    """This process's environment, for a child.

    Args:
        services: What the child has to reach. Addresses and credentials of the others are left out.
    """
    withheld = (_DATABASE_URLS, *_starts(*(service for service in Service if service not in services)))
    return {name: value for name, value in settled(os.environ).items() if not name.startswith(withheld)}


def bare_environment(*services: Service) -> dict[str, str]:
    """As `environment`, for a server that stays: of all else only what any program needs.

    Args:
        services: As of `environment`.
    """
    kinds = _NEEDED_KINDS + _starts(*services)
    return {
        name: value
        for name, value in settled(os.environ).items()
        if name.upper() in _NEEDED or name.startswith(kinds)
    }


def environment_of_code(*services: Service) -> dict[str, str]:
    """As `environment`, for the code of any revision: of all else only what it may be set by.

    Args:
        services: As of `environment`.
    """
    names, kinds = _NEEDED | _OF_CODE, _NEEDED_KINDS + _OF_CODE_KINDS + _starts(*services)
    return {
        name: value
        for name, value in environment(*services).items()
        if name.upper() in names or name.startswith(kinds)
    }


def leading_to(service: Service) -> dict[str, str]:
    """Of this process's environment only what leads to a service, for a child."""
    return {name: value for name, value in settled(os.environ).items() if name.startswith(service.value)}


def settled(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment that means to DVC and MLflow, in any folder, what it means to Heimdall here.

    Files are named by absolute paths. boto3 by itself would take an empty variable for a name, would need a
    profile that is named beside two keys, would not read `AWS_REGION`, and would send newer checksums.

    Args:
        environment: Of this process, or what a child is given in addition with it.
    """
    found = {
        name: str(Path(value).absolute()) if value and name in _FILES and Path(value).exists() else value
        for name, value in environment.items()
        if value or not name.startswith("AWS_")
    }
    if {variables.AWS_ACCESS_KEY_ID.name, variables.AWS_SECRET_ACCESS_KEY.name} <= found.keys():
        for profile in variables.AWS_PROFILES:
            found.pop(profile.name, None)
    if variables.AWS_REGION.name in found:
        found[variables.AWS_DEFAULT_REGION.name] = found[variables.AWS_REGION.name]
    return {variable.name: variable.default for variable in variables.AWS_CHECKSUMS} | found


def ends_with(parent: int) -> bool:
    """Let this process be killed when the thread that started it ends; False if its process has ended.

    Args:
        parent: Its process.
    """
    ctypes.CDLL(None).prctl(_SET_SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
    return os.getppid() == parent


def settle() -> None:
    """Let our own environment mean the same in another folder, and to libraries that run in this process."""
    _become(settled(os.environ))


def forget(*services: Service, database: Variable | None = None) -> None:
    """Take out of this process's own environment what leads to services that it has no need of.

    Its children have none of it. What the system shows as the environment of a process (/proc/PID/environ) is
    that of its start, until it replaces itself.

    Args:
        services: Those that it has to reach.
        database: Has the address by which it reaches Heimdall's own database, if it does.
    """
    kept = {database.name: database.read()} if database is not None and database.read() else {}
    _become(environment(*services) | kept)


def _become(environment: Mapping[str, str]) -> None:
    """Change our own environment."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _starts(*services: Service) -> tuple[str, ...]:
    """The beginnings of the names of their variables."""
    return tuple(start for service in services for start in service.value)
