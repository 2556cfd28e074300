"""The part of DVC's configuration that belongs to this machine: `.dvc/config.local`, ignored by git."""

from __future__ import annotations

import configparser
import io
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.storage import embedded
from heimdall.storage.endpoints import DVC_BUCKET, Endpoints

SECTION = "'remote \"minio\"'"
MANAGED = ("url", "endpointurl", "access_key_id", "secret_access_key")


def write(root: Path, endpoints: Endpoints) -> None:
    """Point the remote `minio` at the S3 server in use; a folder that is no DVC repository is left alone.

    The embedded server's credentials are written here. Configured ones stay in the environment (AWS_*),
    which DVC reads only where this file holds none.

    Args:
        root: The repository.
        endpoints: The services in use.
    """
    wanted = {"url": f"s3://{DVC_BUCKET}", "endpointurl": endpoints.s3_endpoint_url}
    if endpoints.embedded_s3:
        wanted |= {"access_key_id": endpoints.s3_access_key, "secret_access_key": endpoints.s3_secret_key}
    _replace(root, wanted)


def forget(root: Path) -> None:
    """Remove what `write` wrote."""
    _replace(root, {})


def _replace(root: Path, wanted: dict[str, str]) -> None:
    """Set the managed options of the remote to `wanted`; other settings stay."""
    if not (root / ".dvc").is_dir():
        return
    committed = read(root / ".dvc" / "config")
    file = root / ".dvc" / "config.local"
    local = read(file)
    for option in MANAGED:
        if local.has_section(SECTION):
            local.remove_option(SECTION, option)
    for option, value in wanted.items():
        if committed.get(SECTION, option, fallback=None) != value:
            if not local.has_section(SECTION):
                local.add_section(SECTION)
            local.set(SECTION, option, value)
    if local.has_section(SECTION) and not local.options(SECTION):
        local.remove_section(SECTION)
    text = io.StringIO()
    local.write(text)
    if text.getvalue() or file.exists():
        embedded.write_secret(file, text.getvalue())


def read(file: Path) -> configparser.RawConfigParser:
    """A configuration of DVC; empty where the file is missing.

    Raises:
        HeimdallError: It is damaged.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except configparser.Error as error:
        problem = " ".join(str(error).split())
        raise HeimdallError(str(file), f"not a DVC configuration ({problem})", "Mend or delete it") from None
    return parser
