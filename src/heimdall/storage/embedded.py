"""What is known about the embedded servers of one repository: ports, credentials and folders.

It stands in `.heimdall/services/services.json` (0600, in a folder of mode 0700, ignored by git).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

from heimdall.core import artifacts, variables
from heimdall.core.errors import HeimdallError
from heimdall.storage.identities import Identity
from heimdall.storage.roles import Role
from heimdall.storage.s3_access import Keys

# The S3 port of the default base also stands in the committed .dvc/config. Bases end where the highest
# port, admin_grpc, would enter Linux' ephemeral range (32768 and above).
DEFAULT_PORT_BASE = 18730
MIN_PORT_BASE, MAX_PORT_BASE = 1024, 22750
# What a clone tries one after the other if nobody asks for a base; no two have a port in common.
PORT_BASES = range(DEFAULT_PORT_BASE, MAX_PORT_BASE + 1, 20)
PORT_BASE_VARIABLE = variables.PORT_BASE.name
SHARED = Path("/var/lib/heimdall")  # has the data of servers that root starts, a folder for each clone
HOST = "127.0.0.1"  # reachable from this machine alone
REGION = "us-east-1"


@dataclass(frozen=True)
class Ports:
    """TCP ports of `HOST`, all derived from one base."""

    base: int

    @property
    def s3(self) -> int:
        """The S3 protocol."""
        return self.base

    @property
    def postgresql(self) -> int:
        """PostgreSQL."""
        return self.base + 1

    @property
    def seaweedfs(self) -> dict[str, int]:
        """Every port of SeaweedFS, by the name of its option."""
        admin = self.base + 9
        return {
            "s3.port": self.s3,
            "master.port": self.base + 2,
            "master.port.grpc": self.base + 3,
            "volume.port": self.base + 4,
            "volume.port.grpc": self.base + 5,
            "filer.port": self.base + 6,
            "filer.port.grpc": self.base + 7,
            "s3.port.grpc": self.base + 8,
            "admin.port": admin,
            # The built-in worker dials admin + 10000 whatever this option says.
            "admin.port.grpc": admin + 10_000,
        }

    @property
    def all(self) -> tuple[int, ...]:
        """Every port."""
        return (self.postgresql, *self.seaweedfs.values())

    def __str__(self) -> str:
        """As messages name them."""
        ports = sorted(self.all)
        return f"{ports[0]} to {ports[-2]} and {ports[-1]}"


@dataclass(frozen=True)
class State:
    """The embedded servers' file.

    Attributes:
        root: Absolute path of the repository that the servers belong to.
        port_base: See `Ports`.
        database_password: Of the PostgreSQL user `heimdall`.
        s3_access_key: Of the S3 identity that may do everything.
        s3_secret_key: Its secret; those of the others are derived from it.
        jwt_keys: SeaweedFS' internal signing keys: volume write, volume read, filer write, filer read.
    """

    root: str
    port_base: int
    database_password: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    jwt_keys: tuple[str, ...] = field(repr=False)

    @property
    def ports(self) -> Ports:
        """The servers' ports."""
        return Ports(self.port_base)

    @property
    def database_url(self) -> str:
        """PostgreSQL URL of the user `heimdall`, who may do everything, with the password."""
        return self._database_url("heimdall", self.database_password)

    def url_of(self, role: Role) -> str:
        """PostgreSQL URL of a role, with the password."""
        return self._database_url(role.name, self.password_of(role))

    def password_of(self, role: Role) -> str:
        """The password of a role in PostgreSQL; that of the user `heimdall` does not follow from it."""
        return hmac.digest(self.database_password.encode(), role.name.encode(), "sha256").hex()

    def _database_url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@{HOST}:{self.ports.postgresql}/heimdall"

    def s3_keys(self, identity: Identity) -> Keys:
        """The keys of an S3 identity.

        Args:
            identity: Its keys are derived from the secret of the one that may do everything, which does not
                follow from them.
        """
        if identity is Identity.ADMIN:
            return Keys(self.s3_access_key, self.s3_secret_key)
        purpose = f"heimdall {identity.label}".encode()
        secret = hmac.digest(self.s3_secret_key.encode(), purpose, "sha256").hex()
        return Keys(f"{identity.label}{secret[:14]}", secret[16:])

    @property
    def s3_endpoint_url(self) -> str:
        """S3 endpoint."""
        return f"http://{HOST}:{self.ports.s3}"


def folder(root: Path) -> Path:
    """The folder of the embedded servers' file and of an ordinary user's data, by its path without links."""
    return (root / ".heimdall" / "services").resolve()


def path(root: Path) -> Path:
    """The embedded servers' file."""
    return folder(root) / "services.json"


def home(root: Path) -> Path:
    """The folder of the servers' programs and data.

    PostgreSQL refuses to run as root. Started by root it runs as `nobody`, who must be able to reach its
    folder; the repository may lie below a folder that only root may enter.
    """
    if os.geteuid() != 0:
        return folder(root)
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return (SHARED / name).resolve()  # it may be a link to another disk


def create(root: Path) -> State:
    """New credentials for the servers of `root`, not yet written."""
    return State(
        root=str(root.resolve()),
        port_base=requested_port_base() or DEFAULT_PORT_BASE,
        database_password=secrets.token_hex(24),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_hex(24),
        jwt_keys=tuple(secrets.token_hex(24) for _ in range(4)),
    )


def load(root: Path) -> State | None:
    """Read the embedded servers' file.

    Returns:
        The state, or None where no servers were ever started.

    Raises:
        HeimdallError: The file is damaged, or was made for a repository at another path.
    """
    file = path(root)
    if not file.is_file():
        return None
    remedy = "Run `heimdall services down --delete` to start with empty servers"
    try:
        values = artifacts.read_json(file, remedy)
        state = State(**values | {"jwt_keys": tuple(values["jwt_keys"])})
    except (TypeError, KeyError):
        raise HeimdallError(str(file), "not a file of embedded servers", remedy) from None
    if state.root != str(root.resolve()):
        raise HeimdallError(
            str(file),
            f"the servers belong to {state.root}; this folder was copied or moved",
            f"Move it back, or delete {folder(root)} to start with empty servers",
        )
    return state


def save(root: Path, state: State) -> None:
    """Write the embedded servers' file, readable by its owner alone."""
    make_private(folder(root))
    write_secret(path(root), artifacts.json_text(dataclasses.asdict(state)))


def make_private(directory: Path) -> None:
    """Create `directory` with mode 0700."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)


def write_secret(file: Path, text: str) -> None:
    """Write `text` to `file` whole or not at all, with mode 0600 from the first byte on."""
    with artifacts.atomic(file) as partial:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)


def is_free(port: int) -> bool:
    """Whether nothing listens on a port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def requested_port_base() -> int | None:
    """The port base that the environment asks for, if any.

    Raises:
        HeimdallError: It is no number, or out of range.
    """
    text = variables.PORT_BASE.read()
    if not text:
        return None
    if not text.isdecimal() or not MIN_PORT_BASE <= int(text) <= MAX_PORT_BASE:
        raise HeimdallError(
            PORT_BASE_VARIABLE,
            f"{text!r} is not a number from {MIN_PORT_BASE} to {MAX_PORT_BASE} (a base needs ports up to "
            "10009 above it, and the system hands out those from 32768 on)",
            "Set it to such a number, or unset it, and free ports are found",
        )
    return int(text)
