"""The machine itself: Python, processor, disk, memory, programs, rights, ports."""

from __future__ import annotations

import getpass
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from heimdall.core import child, determinism
from heimdall.core.errors import HeimdallError
from heimdall.doctor.report import MISSING, OK, WARNING, Check
from heimdall.storage import embedded, endpoints

GB = 1e9
# `du -sh .venv`; the most that the demo may take besides it, of which the servers' data are a part.
ENVIRONMENT_GB, CLONE_GB, SERVERS_GB = 6.0, 3.0, 2.0
MEMORY_GB = 4.0
# What commands and stages write below the clone.
WRITTEN = (".", ".dvc", ".heimdall", ".venv", "data", "metrics", "models", "plots")


def python() -> Check:
    """The interpreter that runs this."""
    here = sys.version_info[:2]
    version = platform.python_version()
    if here in determinism.PYTHONS:
        return Check("Python", OK, f"{version} ({sys.executable})")
    first, *_, last = determinism.PYTHONS
    found = f"Python {version} is too {'old' if here < first else 'new'}: {versions()} is needed"
    name = "python{}.{}".format(*last)
    remedy = f"Install one (on Debian and Ubuntu `apt-get install {name} {name}-venv`), "
    return Check("Python", MISSING, found, remedy + f"or name one that is there: `make demo PYTHON={name}`")


def versions() -> str:
    """The versions of Python that will do, in words."""
    *others, last = ["{}.{}".format(*version) for version in determinism.PYTHONS]
    return f"{', '.join(others)} or {last}"


def virtual_environments() -> Check:
    """Whether this Python can make a virtual environment with pip in it: Debian ships that apart."""
    lacking = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not lacking:
        return Check("venv", OK, "this Python can make virtual environments")
    package = "python{}.{}-venv".format(*sys.version_info[:2])
    found = f"this Python comes without its module {' and '.join(lacking)}"
    return Check("venv", MISSING, found, f"On Debian and Ubuntu `apt-get install {package}`")


def processor(system: str, architecture: str, cpuinfo: str, c_library: str) -> Check:
    """Whether programs and libraries of the lock run here, and give the recorded bytes.

    Args:
        system: As `uname -s` says.
        architecture: As `uname -m` says.
        cpuinfo: The text of /proc/cpuinfo.
        c_library: "glibc", or another name or none.
    """
    if system != "Linux" or c_library != "glibc":
        found = f"{system} with {c_library or 'another C library than glibc'}"
        remedy = (
            "Use Linux with glibc, such as Debian, Ubuntu or Fedora: PyTorch and the servers are built for it"
        )
        return Check("system", MISSING, found, remedy)
    foreign = determinism.foreign_cpu(architecture, cpuinfo)
    if foreign:
        found = "; ".join(foreign)
        return Check(
            "system", WARNING, found, "Expect other bytes than those of dvc.lock, or use x86-64 with AVX2"
        )
    return Check("system", OK, f"{system}, {architecture}, with AVX2 and FMA")


def disk(root: Path) -> list[Check]:
    """Space where the installation and the demo write, one check for each file system."""
    installed = (root / ".venv" / ".installed").exists()
    wanted = [(root, CLONE_GB), (embedded.home(root), SERVERS_GB)]
    if not installed:
        # Hard links: the package cache costs nothing more where it is on the same disk.
        wanted += [(root / ".venv", ENVIRONMENT_GB), (_cache(), 0.0)]
    devices: dict[int, list[tuple[Path, float]]] = {}
    for path, needed_gb in wanted:
        folder = _existing(path)
        devices.setdefault(folder.stat().st_dev, []).append((folder, needed_gb))
    found = []
    for places in devices.values():
        needed_gb = sum(needed for _, needed in places) or ENVIRONMENT_GB
        free_gb = shutil.disk_usage(places[0][0]).free / GB
        text = f"{free_gb:.0f} GB free in {places[0][0]}; {needed_gb:.0f} GB needed"
        if free_gb >= needed_gb:
            found.append(Check("disk", OK, text))
        else:
            # What is installed and made already needs no room any more.
            state = WARNING if installed else MISSING
            found.append(Check("disk", state, text, "Make room there, or clone where there is more"))
    return found


def memory(meminfo: str) -> Check:
    """Free memory, by the text of /proc/meminfo."""
    kilobytes = [int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable:")]
    if not kilobytes:
        return Check(
            "memory", WARNING, "the system does not say how much is free", f"Have {MEMORY_GB:.0f} GB"
        )
    free_gb = kilobytes[0] * 1024 / GB
    text = f"{free_gb:.1f} GB free; {MEMORY_GB:.0f} GB needed"
    if free_gb >= MEMORY_GB:
        return Check("memory", OK, text)
    return Check("memory", WARNING, text, "Close other programs, or add swap: a stage may be killed")


def programs() -> list[Check]:
    """The programs git and make."""
    found = []
    for name in ("git", "make"):
        path = shutil.which(name)
        remedy = f"Install it (on Debian and Ubuntu `apt-get install {name}`)"
        found.append(Check(name, OK, path) if path else Check(name, MISSING, "not found in PATH", remedy))
    return found


def clone(root: Path) -> Check:
    """Whether git takes the folder for a repository: DVC works in no other."""
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel"]
    try:
        done = subprocess.run(
            command, env=child.environment(), capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return Check("clone", WARNING, "git does not answer", "Install git, or look why it hangs")
    if done.returncode == 0:
        return Check("clone", OK, done.stdout.strip())
    remedy = "Make it with `git clone`; if it belongs to another user, clone it as yourself"
    return Check("clone", MISSING, " ".join(done.stderr.split()), remedy)


def rights(root: Path) -> Check:
    """Whether the folders of clone, servers and package cache may be written, and programs run there."""
    folders = [root / name for name in WRITTEN if (root / name).exists()]
    folders += [_existing(embedded.home(root)), _existing(_cache())]
    closed = [str(folder) for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    if closed:
        found = f"no right to write in {', '.join(dict.fromkeys(closed))}"
        return Check(
            "rights", MISSING, found, "Give yourself write access, or clone into a folder of your own"
        )
    inert = [str(folder) for folder in folders if os.statvfs(folder).f_flag & os.ST_NOEXEC]
    if inert:
        remedy = "Clone to a file system that is not mounted noexec"
        return Check("rights", MISSING, f"programs may not run in {inert[0]}", remedy)
    try:
        getpass.getuser()
    except (KeyError, OSError):
        found = f"user {os.geteuid()} has no name, and DVC stops where it finds none"
        return Check(
            "rights", MISSING, found, "Set USER to any name, and HOME to a folder that you may write to"
        )
    if os.geteuid() == 0 and not _is_user("nobody"):
        found = "PostgreSQL refuses to run as root, and there is no user `nobody` to run it as"
        return Check("rights", MISSING, found, "Run as an ordinary user, or add the user `nobody`")
    where = f" and {embedded.home(root).parent}" if os.geteuid() == 0 else ""
    return Check("rights", OK, f"may write in {root.resolve()}{where}")


def ports(root: Path) -> Check:
    """The ports of the embedded servers."""
    if endpoints.database_configured() and endpoints.s3_configured():
        return Check("ports", OK, "none needed: PostgreSQL and S3 are configured by the environment")
    try:
        known, asked = embedded.load(root), embedded.requested_port_base()
    except HeimdallError as error:
        return Check("ports", MISSING, f"{error.subject}: {error.cause}", error.remedy)
    if known is not None and asked in (None, known.port_base):
        return Check("ports", OK, f"{known.ports}, as this clone has had them")
    bases = [asked] if asked else list(embedded.PORT_BASES)
    free = [base for base in bases if all(embedded.is_free(port) for port in embedded.Ports(base).all)]
    if free:
        others = "" if free[0] == bases[0] else f" ({embedded.Ports(bases[0])} are in use by others)"
        return Check("ports", OK, f"{embedded.Ports(free[0])} are free{others}")
    remedy = f"Unset {embedded.PORT_BASE_VARIABLE}, and free ports are found by themselves"
    return Check("ports", MISSING, f"{embedded.Ports(bases[0])} are in use by others", remedy)


def _cache() -> Path:
    """Where uv keeps packages unless told otherwise."""
    return Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111 - without a home this raises nothing


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(folder for folder in (path.resolve(), *path.resolve().parents) if folder.is_dir())


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
