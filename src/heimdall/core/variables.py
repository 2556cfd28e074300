"""Every environment variable that Heimdall reads or sets, declared once; it imports nothing that takes time.

`python -m heimdall.core.variables` prints the tables of docs/environment.md. The variables of the recipe,
which decide the bytes of an output, have their values and reasons in `heimdall.core.determinism`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

OFF = frozenset({"off", "0", "false", "no"})


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Attributes:
        name: As the environment has it.
        meaning: What it is for, in Markdown, without a full stop.
        default: Its value where it is not set or empty.
        otherwise: What holds then, if that is no fixed value.
        example: A value that it may have; empty where it is not a person's to set.
        secret: Whether its value is never printed, logged or committed.
    """

    name: str
    meaning: str
    default: str = ""
    otherwise: str = ""
    example: str = ""
    secret: bool = False

    def read(self) -> str:
        """Its value in this process; the default where it is not set or empty."""
        return os.environ.get(self.name) or self.default

    def is_off(self) -> bool:
        """Whether it says off, 0, false or no."""
        return self.read().lower() in OFF


DATABASE_URL = Variable(
    "HEIMDALL_DATABASE_URL",
    "your PostgreSQL, as libpq takes it: several hosts, sockets, services ([postgresql.md](postgresql.md))",
    otherwise="the embedded server",
    example="postgresql://user:password@host:5432/heimdall?sslmode=require",
    secret=True,
)
DATABASE_URL_READER, DATABASE_URL_OPERATOR, DATABASE_URL_MIGRATOR, DATABASE_URL_SWEEPER = (
    Variable(
        f"HEIMDALL_DATABASE_URL_{role.upper()}",
        f"the same for the {role} alone: {work} ([postgresql.md](postgresql.md#roles))",
        otherwise="`HEIMDALL_DATABASE_URL`",
        example=f"postgresql://heimdall_{role}:password@host:5432/heimdall?sslmode=require",
        secret=True,
    )
    for role, work in (
        ("reader", "snapshots and other readers"),
        ("operator", "`heimdall ingest`"),
        ("migrator", "`heimdall database migrate`"),
        ("sweeper", "`heimdall sweep`"),
    )
)
DATABASE_URLS = (
    DATABASE_URL,
    DATABASE_URL_READER,
    DATABASE_URL_OPERATOR,
    DATABASE_URL_MIGRATOR,
    DATABASE_URL_SWEEPER,
)
DATABASE_SCHEMA = Variable(
    "HEIMDALL_DATABASE_SCHEMA",
    "schema of Heimdall's own tables in PostgreSQL; `heimdall database migrate` makes them",
    default="heimdall",
    example="radio",
)
DATABASE_WITHOUT_TLS = Variable(
    "HEIMDALL_DATABASE_WITHOUT_TLS",
    "hosts of PostgreSQL on other machines, with commas, that may be reached without TLS",
    otherwise="`sslmode` must be `require` or stricter for a host that is not this machine",
    example="postgres,10.0.0.5",
)
S3_ENDPOINT_URL = Variable(
    "HEIMDALL_S3_ENDPOINT_URL",
    "your S3 server; it takes the `AWS_*` below ([s3.md](s3.md))",
    otherwise="the embedded server",
    example="https://minio.example:9000",
)
S3_WITHOUT_TLS = Variable(
    "HEIMDALL_S3_WITHOUT_TLS",
    "hosts of S3 that may be reached by http://, separated by commas; this machine always may",
    otherwise="an error if the server is another machine without https://",
    example="minio.internal",
)
AWS_ACCESS_KEY_ID = Variable(
    "AWS_ACCESS_KEY_ID",
    "key of that S3 server; DVC reads it, too, if `.dvc/config.local` has none",
    otherwise="`AWS_PROFILE`, else what boto3 finds",
    example="heimdall",
    secret=True,
)
AWS_SECRET_ACCESS_KEY = Variable(
    "AWS_SECRET_ACCESS_KEY",
    "the secret that belongs to the key",
    otherwise="an error if the key is set",
    example="...",
    secret=True,
)
AWS_SESSION_TOKEN = Variable(
    "AWS_SESSION_TOKEN",
    "token of temporary credentials",
    otherwise="credentials are permanent ones",
    example="...",
    secret=True,
)
AWS_PROFILE = Variable(
    "AWS_PROFILE",
    "profile of `~/.aws/config` with the credentials, where no keys are set: a role, a sign-in, a program",
    otherwise="the profile `default`, else the role of the machine",
    example="radio",
)
AWS_DEFAULT_PROFILE = Variable(
    "AWS_DEFAULT_PROFILE",
    "the same by its older name; boto3 takes it before `AWS_PROFILE`",
    otherwise="`AWS_PROFILE`",
    example="radio",
)
AWS_PROFILES = (AWS_DEFAULT_PROFILE, AWS_PROFILE)  # in the order in which boto3 reads them
AWS_REGION = Variable(
    "AWS_REGION",
    "region by which requests are signed, and in which buckets are made",
    otherwise="`AWS_DEFAULT_REGION`",
    example="eu-south-1",
)
AWS_DEFAULT_REGION = Variable(
    "AWS_DEFAULT_REGION",
    "the same by its older name",
    otherwise="the region in the name of Amazon's server, else the profile's, else `us-east-1`",
    example="eu-south-1",
)
AWS_CA_BUNDLE = Variable(
    "AWS_CA_BUNDLE",
    "file with the certificates that S3 servers may be signed by (PEM); boto3 and DVC read it",
    otherwise="the certificates that come with boto3",
    example="/etc/ssl/certs/radio.pem",
)
AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE = (
    Variable(name, f"boto3's file of {what}", otherwise=f"`{default}`", example=f"/etc/radio/{what}")
    for name, what, default in (
        ("AWS_CONFIG_FILE", "profiles", "~/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", "~/.aws/credentials"),
    )
)
AWS_WEB_IDENTITY_TOKEN_FILE = Variable(
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "file with the token of a web identity, for which boto3 is given a role",
    otherwise="no web identity, unless the profile names one",
    example="/run/secrets/token",
)
AWS_FILES = (AWS_CA_BUNDLE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, AWS_WEB_IDENTITY_TOKEN_FILE)
RAW_BUCKET = Variable(
    "HEIMDALL_RAW_BUCKET", "bucket of the recordings", default="heimdall-raw-iq", example="radio-raw"
)
DVC_BUCKET = Variable(
    "HEIMDALL_DVC_BUCKET", "bucket of DVC's remote", default="heimdall-dvc", example="radio-dvc"
)
MODELS_BUCKET = Variable(
    "HEIMDALL_MODELS_BUCKET",
    "bucket of the releases ([releases.md](releases.md))",
    default="heimdall-models",
    example="radio-models",
)
MLFLOW_BUCKET = Variable(
    "HEIMDALL_MLFLOW_BUCKET",
    "bucket of the files that belong to MLflow's runs",
    default="heimdall-mlflow",
    example="radio-mlflow",
)
BUCKETS = (RAW_BUCKET, DVC_BUCKET, MODELS_BUCKET, MLFLOW_BUCKET)
PORT_BASE = Variable(
    "HEIMDALL_PORT_BASE",
    "ports of the embedded servers: ten from this number on, and one 10009 above it; 1024 to 22750",
    otherwise="those the clone had before; else from 18730 on the first that are free",
    example="20000",
)
TRACKING = Variable(
    "HEIMDALL_TRACKING",
    "`off`: MLflow is told nothing, neither of trainings nor of releases",
    "on",
    example="off",
)
MLFLOW_TRACKING_URI = Variable(
    "MLFLOW_TRACKING_URI",
    "MLflow's store: a server or a database",
    default="sqlite:///.heimdall/mlflow.db",
    example="https://mlflow.example",
    secret=True,
)
MLFLOW_S3_ENDPOINT_URL = Variable(
    "MLFLOW_S3_ENDPOINT_URL",
    "another S3 server for the files of an MLflow server's runs, with the `AWS_*` of the environment",
    otherwise="the S3 server above",
    example="https://s3.example:9000",
)
TRAIN_WORKERS = Variable(
    "HEIMDALL_TRAIN_WORKERS",
    "workers that train together on this machine, at most `virtual_shards` of them; no byte depends on it",
    otherwise="one, or one for each of `devices`",
    example="2",
)
RECIPE = Variable(
    "HEIMDALL_RECIPE",
    "`off`: a process keeps its environment and says what differs; its bytes need not be those of "
    "`dvc.lock` ([reproducibility.md](reproducibility.md))",
    default="on",
    example="off",
)
RAY_ADDRESS = Variable(
    "HEIMDALL_RAY_ADDRESS",
    "a Ray cluster with this machine in it: `snapshot`, `simulate`, `featurize` and `evaluate` compute "
    "on all its machines, with the same bytes ([scale.md](scale.md))",
    otherwise="this machine alone",
    example="10.0.0.1:6379",
)
RAY_AUTH_TOKEN_PATH = Variable(
    "RAY_AUTH_TOKEN_PATH",
    "file with the token of that cluster, which only you may read; Ray reads it",
    otherwise="`~/.ray/auth_token`, where `heimdall cluster start` writes it",
    example="/run/secrets/ray",
)
RAY_AUTH_TOKEN = Variable(
    "RAY_AUTH_TOKEN",
    "the token itself; Ray takes it before the file",
    otherwise="the file",
    example="...",
    secret=True,
)
NO_COLOR = Variable(
    "NO_COLOR",
    "any value: no colours on a terminal ([no-color.org](https://no-color.org))",
    otherwise="verdicts have a colour on a terminal",
    example="1",
)

DVC_ROOT = Variable(
    "DVC_ROOT",
    "the main repository, from a workspace of a queued experiment",
    otherwise="the folder of the process",
)
DVC_STAGE = Variable(
    "DVC_STAGE",
    "the stage that DVC runs; where it is set, variables of torchrun are not the training's",
    otherwise="a stage that a person typed",
)
TORCHRUN = (
    Variable("TORCHELASTIC_RUN_ID", "torchrun has started this worker of a training", otherwise="one worker"),
    Variable("RANK", "torchrun's number of this worker", otherwise="one worker"),
    Variable("WORLD_SIZE", "torchrun's number of workers", otherwise="one worker"),
    Variable("LOCAL_RANK", "torchrun's number of this worker on its machine", otherwise="one worker"),
)
DVC_EXP_NAME = Variable(
    "DVC_EXP_NAME", "name of the experiment, a tag of its run in MLflow", otherwise="no tag"
)
DVC_EXP_BASELINE_REV = Variable(
    "DVC_EXP_BASELINE_REV", "commit from which the experiment starts, a tag of its run", otherwise="no tag"
)
NO_PROXY = Variable(
    "NO_PROXY",
    "hosts that need no proxy; MLflow's processes get this machine in addition",
    otherwise="no host",
)
NO_PROXY_LOWER = Variable(
    "no_proxy", "what `NO_PROXY` is, by the name that other programs read", otherwise="no host"
)
PYTHONPATH = Variable(
    "PYTHONPATH",
    "`dvc.yaml` sets it to `src`, so that a worktree runs its own code",
    otherwise="the installed code",
)
PGHOST = Variable("PGHOST", "libpq's host, where the address of PostgreSQL has none", otherwise="a socket")
PGHOSTADDR = Variable(
    "PGHOSTADDR", "libpq's numeric address of that host", otherwise="the host's name is looked up"
)
PGPORT = Variable("PGPORT", "libpq's port, where the address has none", default="5432")
PGDATABASE = Variable("PGDATABASE", "libpq's database, where the address has none", otherwise="an error")
PGSERVICE = Variable("PGSERVICE", "libpq's section of `pg_service.conf`", otherwise="no section")
PGSSLMODE = Variable("PGSSLMODE", "libpq's `sslmode`, where the address has none", default="prefer")
DISPLAY = Variable("DISPLAY", "where it is set, `heimdall ui` opens a browser", otherwise="no desktop")
WAYLAND_DISPLAY = Variable(
    "WAYLAND_DISPLAY",
    "a desktop of another kind, where `heimdall ui` opens a browser, too",
    otherwise="no desktop",
)

AWS_CHECKSUMS = (
    Variable(
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "not every S3 server knows Amazon's newer checksums",
        "when_required",
    ),
    Variable("AWS_RESPONSE_CHECKSUM_VALIDATION", "the same of what it answers", "when_required"),
)
RECIPE_PROCESS = Variable(
    "HEIMDALL_RECIPE_PROCESS", "the process that has replaced itself to have the recipe"
)
TRAIN_RANK = Variable(
    "HEIMDALL_TRAIN_RANK",
    "number and count of the workers of a training, who started them, and where they meet",
)
GLOO_SOCKET_IFNAME = Variable(
    "GLOO_SOCKET_IFNAME", "workers on one machine talk through its loopback interface", "lo"
)
MLFLOW_BACKEND_STORE_URI = Variable(
    "MLFLOW_BACKEND_STORE_URI", "store of the server of `heimdall ui`, not on its command line", secret=True
)
MLFLOW_SERVER_ENABLE_JOB_EXECUTION = Variable(
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "that server only shows runs", default="false"
)
MLFLOW_LIMITS = (
    Variable("MLFLOW_HTTP_REQUEST_TIMEOUT", "seconds after which MLflow counts as down", "5"),
    Variable(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "a repeated request could make a run twice; what failed is sent again by the spool",
        "0",
    ),
    Variable("MLFLOW_ENABLE_ASYNC_LOGGING", "what a sender sent is there when it ends", "false"),
    Variable("MLFLOW_DISABLE_TELEMETRY", "nobody is told of MLflow's use", "true"),
    Variable("MLFLOW_LOGGING_LEVEL", "no line about each step of MLflow's own database", "ERROR"),
    Variable("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "`heimdall track` prints the address itself", "true"),
)
RAY_SETTINGS = (
    Variable("RAY_AUTH_MODE", "a node and a driver of a Ray cluster need its token", "token"),
    Variable("RAY_USAGE_STATS_ENABLED", "nobody is told of Ray's use", "0"),
    Variable(
        "RAY_task_oom_retries", "a piece for which no machine has the memory is not tried for ever", "3"
    ),
)
RAY_PATIENCE = Variable(
    "RAY_gcs_rpc_server_reconnect_timeout_s",
    "Ray ends a driver without a line when the first machine is lost for so long; we say so before",
    "86400",
)
RAY_LOOPBACK = Variable(
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    "the node of a Ray cluster at 127.0.0.1 listens on no other address, with any system",
    "0",
)

YOURS = (
    *DATABASE_URLS,
    DATABASE_SCHEMA,
    DATABASE_WITHOUT_TLS,
    S3_ENDPOINT_URL,
    S3_WITHOUT_TLS,
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    AWS_PROFILE,
    AWS_DEFAULT_PROFILE,
    AWS_REGION,
    AWS_DEFAULT_REGION,
    AWS_CA_BUNDLE,
    AWS_CONFIG_FILE,
    AWS_SHARED_CREDENTIALS_FILE,
    AWS_WEB_IDENTITY_TOKEN_FILE,
    *BUCKETS,
    PORT_BASE,
    TRACKING,
    MLFLOW_TRACKING_URI,
    MLFLOW_S3_ENDPOINT_URL,
    TRAIN_WORKERS,
    RECIPE,
    RAY_ADDRESS,
    RAY_AUTH_TOKEN_PATH,
    RAY_AUTH_TOKEN,
    NO_COLOR,
)
FROM_OTHERS = (
    DVC_ROOT,
    DVC_STAGE,
    DVC_EXP_NAME,
    DVC_EXP_BASELINE_REV,
    NO_PROXY,
    NO_PROXY_LOWER,
    PYTHONPATH,
    PGHOST,
    PGHOSTADDR,
    PGPORT,
    PGDATABASE,
    PGSERVICE,
    PGSSLMODE,
    DISPLAY,
    WAYLAND_DISPLAY,
    *TORCHRUN,
)
FOR_PROCESSES = (
    *AWS_CHECKSUMS,
    RECIPE_PROCESS,
    TRAIN_RANK,
    GLOO_SOCKET_IFNAME,
    MLFLOW_BACKEND_STORE_URI,
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION,
    *MLFLOW_LIMITS,
    *RAY_SETTINGS,
    RAY_PATIENCE,
    RAY_LOOPBACK,
)
ALL = YOURS + FROM_OTHERS + FOR_PROCESSES


def ray_settings(address: str) -> dict[str, str]:
    """What Ray is told by the environment of a node or a driver.

    Args:
        address: Of the cluster's head, host and port.
    """
    loopback = (RAY_LOOPBACK,) if address.startswith(("127.0.0.1:", "localhost:")) else ()
    return {variable.name: variable.default for variable in (*RAY_SETTINGS, *loopback)}


def markdown(recipe: Iterable[tuple[str, str | None, str]]) -> str:
    """The tables of docs/environment.md.

    Args:
        recipe: Name, value (None: it must not be set) and reason of each variable of the recipe.

    Returns:
        Four tables, each below its heading.
    """
    yours = [
        f"| `{v.name}` | {v.meaning}{'. A secret' if v.secret else ''} | {_unset(v)} | {_code(v.example)} |"
        for v in YOURS
    ]
    others = [f"| `{v.name}` | {v.meaning} | {_unset(v)} |" for v in FROM_OTHERS]
    ours = [
        f"| `{v.name}` | {v.meaning}{'. A secret' if v.secret else ''} | {_code(v.default)} |"
        for v in FOR_PROCESSES
    ]
    fixed = [f"| `{name}` | {_code(value) if value else 'not set'} | {why} |" for name, value, why in recipe]
    sections = (
        ("Yours to set", "| variable | meaning | if it is not set | example |", yours),
        ("Set by DVC or the system, read here", "| variable | meaning | if it is not set |", others),
        ("Set by Heimdall for its own processes", "| variable | why | value |", ours),
        ("The recipe: set by Heimdall in every process that computes", "| variable | value | why |", fixed),
    )
    return "\n".join(
        f"## {title}\n\n{head}\n|{'---|' * (head.count('|') - 1)}\n" + "\n".join(rows) + "\n"
        for title, head, rows in sections
    )


def _unset(variable: Variable) -> str:
    """What holds where a variable is not set, in Markdown."""
    return _code(variable.default) if variable.default else variable.otherwise


def _code(text: str) -> str:
    """A value in Markdown; nothing stays nothing."""
    return f"`{text}`" if text else ""


def main() -> None:
    """Print the tables."""
    from heimdall.core import determinism  # noqa: PLC0415 - it takes its names from here

    settings = determinism.settings(determinism.DEFAULT_THREADS)
    print(markdown((setting.name, setting.value, setting.why) for setting in settings), end="")


if __name__ == "__main__":
    main()
