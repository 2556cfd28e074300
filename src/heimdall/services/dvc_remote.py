"""The part of DVC's configuration that belongs to this machine: `.dvc/config.local`, ignored by git.

Read and written by the library that DVC itself reads with, which keeps comments. DVC's own writer loses them,
and leaves the file to others' eyes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from heimdall.core.errors import HeimdallError
from heimdall.storage import embedded
from heimdall.storage.endpoints import DVC_BUCKET
from heimdall.storage.s3_access import FALLBACK_REGION, S3Access

REMOTE = "s3"
FORMER_REMOTE = "minio"  # its name in revisions before 2026-12
MANAGED = ("url", "endpointurl", "region", "access_key_id", "secret_access_key")
COMMITTED, LOCAL = Path(".dvc/config"), Path(".dvc/config.local")


def write(root: Path, s3: S3Access) -> None:
    """Point the remote `s3` at the S3 server in use; a folder that is no DVC repository is left alone.

    The embedded server's credentials are written here. Configured ones stay in the environment or in
    the profile that it names, which DVC reads only where this file holds none. Their region is written,
    because DVC does not read AWS_REGION.

    Args:
        root: The repository.
        s3: The server in use.

    Raises:
        HeimdallError: A configuration of DVC is damaged.
    """
    wanted = {"url": f"s3://{DVC_BUCKET}", "endpointurl": s3.endpoint_url}
    keys, region = s3.keys, s3.region
    if s3.embedded and keys is not None:
        wanted |= {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key}
    elif region not in (None, FALLBACK_REGION):
        wanted["region"] = region
    _replace(root, wanted)


def forget(root: Path) -> None:
    """Remove what `write` wrote.

    Raises:
        HeimdallError: A configuration of DVC is damaged.
    """
    _replace(root, {})


def set_plots_page(root: Path, page: Path) -> None:
    """Have `dvc plots` write its charts into a page of ours, in a folder that is a DVC repository.

    Args:
        root: The repository.
        page: A file with the places that DVC fills.

    Raises:
        HeimdallError: A configuration of DVC is damaged.
    """
    if (root / ".dvc").is_dir():
        local = _read(root / LOCAL)
        local.setdefault("plots", {})["html_template"] = str(page.resolve())
        _save(root / LOCAL, local)


def copy(repository: Path, checkout: Path) -> None:
    """Give a checkout of any revision the local configuration of its repository, and a cache of its own.

    Args:
        repository: Has the settings. Nothing in it is changed.
        checkout: Of one of its revisions.

    Raises:
        HeimdallError: A configuration of DVC is damaged.
    """
    local = _read(repository / LOCAL)
    local.setdefault("cache", {})["dir"] = str((checkout / ".dvc" / "cache").resolve())
    remote = _section(_read(checkout / COMMITTED).get("core", {}).get("remote", REMOTE))
    found = next((name for name in (_section(REMOTE), _section(FORMER_REMOTE)) if name in local), remote)
    if found != remote:
        local.pop(remote, None)
        local.rename(found, remote)
    _save(checkout / LOCAL, local)


@contextmanager
def withheld(checkout: Path) -> Iterator[None]:
    """Take the remotes' settings, which may hold keys, out of a checkout while its own code runs."""
    file = checkout / LOCAL
    former, local = file.read_text(encoding="utf-8"), _read(file)
    for section in [name for name in local if name.startswith("remote ")]:
        del local[section]
    _save(file, local)
    try:
        yield
    finally:
        embedded.write_secret(file, former)


def _replace(root: Path, wanted: dict[str, str]) -> None:
    """Set the managed options of the remote to `wanted`; other settings and comments stay."""
    if not (root / ".dvc").is_dir():
        return
    section, former = _section(REMOTE), _section(FORMER_REMOTE)
    committed, local = _read(root / COMMITTED), _read(root / LOCAL)
    if former in local:  # its credentials would never be updated again
        if section in local:
            del local[former]
        else:
            local.rename(former, section)
    kept = {name: value for name, value in local.get(section, {}).items() if name not in MANAGED}
    own = {name: value for name, value in wanted.items() if committed.get(section, {}).get(name) != value}
    if "access_key_id" in own:
        own["url"] = wanted["url"]  # DVC refuses a remote without one, at revisions that do not commit it
    for name in MANAGED:
        local.get(section, {}).pop(name, None)
    if kept or own:
        local.setdefault(section, {}).update(own)
    elif section in local:
        del local[section]
    if local or local.initial_comment or (root / LOCAL).exists():
        _save(root / LOCAL, local)


def _section(remote: str) -> str:
    return f'remote "{remote}"'


def _read(file: Path) -> ConfigObj:
    """A configuration of DVC; empty where the file is missing.

    Raises:
        HeimdallError: It is damaged.
    """
    try:
        config = ConfigObj(str(file), encoding="utf-8", interpolation=False, indent_type="    ")
    except (ConfigObjError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    else:
        if not config.scalars:
            return config
        problem = f"{config.scalars[0]} stands in no section"
    raise HeimdallError(str(file), f"not a DVC configuration ({problem})", "Mend or delete it")


def _save(file: Path, config: ConfigObj) -> None:
    """Write a configuration, readable by its owner alone: it holds credentials."""
    text = io.BytesIO()
    config.write(text)
    embedded.write_secret(file, text.getvalue().decode("utf-8"))
