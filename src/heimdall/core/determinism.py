"""The environment in which the same inputs give the same bytes, set before anything computes.

Vector libraries choose their kernels once, when they are loaded, by what the CPU offers; kernels
differ in the last bit. So the choice is fixed here, and a process that was started without it
replaces itself. This module imports the standard library alone: it must run before NumPy and torch, and tells
what a machine lacks before anything is installed.

HEIMDALL_RECIPE=off keeps a process's environment as it is: for benchmarks/determinism.py, and for
looking at what a machine does by itself. Whatever differs then is said on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from heimdall.core import variables

SWITCH = variables.RECIPE.name
REPLACED = variables.RECIPE_PROCESS.name  # id of the process that replaced itself
PARAMS_FILE = Path("params.yaml")
LOCK_FILE = Path("requirements/runtime.txt")
DEFAULT_THREADS = 2
PYTHONS = ((3, 11), (3, 12), (3, 13))  # of the lock; benchmarks/pythons.py: they give the same bytes
CPU_FLAGS = ("avx2", "fma")
# Installed from the lock, and between them they compute or write every byte of an output.
LIBRARIES = (
    "lightning",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pillow",
    "pyarrow",
    "pyproj",
    "safetensors",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


_SAID: set[str] = set()


@dataclass(frozen=True)
class Setting:
    """One environment variable of the recipe.

    Attributes:
        name: Of the variable.
        value: What it must be; None: it must not be set.
        why: What depends on it, in one clause.
    """

    name: str
    value: str | None
    why: str


def settings(threads: int) -> tuple[Setting, ...]:
    """The recipe: every environment variable on which an output depends.

    Args:
        threads: Number of compute threads. It is part of the result: sums are split by it.

    Returns:
        The settings, to be made before the interpreter starts.
    """
    return (
        Setting("ATEN_CPU_CAPABILITY", "avx2", "PyTorch's kernels differ in the last bit by CPU"),
        Setting("ONEDNN_MAX_CPU_ISA", "AVX2", "convolutions differ in the last bit by CPU"),
        Setting("MKL_CBWR", "COMPATIBLE", "PyTorch's matrix products differ in the last bit by CPU"),
        Setting(
            "NPY_DISABLE_CPU_FEATURES",
            "X86_V4 AVX512_ICL AVX512_SPR",
            "NumPy's exp, log and sin differ in the last bit by CPU",
        ),
        Setting("OPENBLAS_CORETYPE", "Haswell", "NumPy's matrix products differ in the last bit by CPU"),
        Setting("OPENBLAS_NUM_THREADS", "1", "sums are split by the number of threads"),
        Setting(
            "OMP_NUM_THREADS",
            str(threads),
            f"sums are split by the number of threads ({PARAMS_FILE}, threads)",
        ),
        Setting("MKL_NUM_THREADS", None, "sums are split by the number of threads, which it overrules"),
        Setting("OMP_THREAD_LIMIT", None, "with fewer threads than asked for PyTorch waits for ever"),
        Setting("OMP_DYNAMIC", None, "with fewer threads than asked for PyTorch waits for ever"),
        Setting("NPY_ENABLE_CPU_FEATURES", None, "NumPy refuses it beside NPY_DISABLE_CPU_FEATURES"),
        Setting("CUBLAS_WORKSPACE_CONFIG", ":4096:8", "matrix products on a GPU do not repeat without it"),
        Setting("PYTHONHASHSEED", "0", "sets of text have another order in every process"),
        # No bit depends on it. Threads wait awake for some microseconds, then asleep: a step is 1.3x slower
        # where they sleep at once, and 10x where they spin on (the default) on a busy machine.
        Setting("GOMP_SPINCOUNT", "1000", "threads that wait awake for longer slow a busy machine down"),
    )


def recipe(threads: int) -> dict[str, str]:
    """The variables that `settings` sets, with their values."""
    return {setting.name: setting.value for setting in settings(threads) if setting.value is not None}


def differing(environment: Mapping[str, str], threads: int) -> list[Setting]:
    """The settings that an environment does not have."""
    return [setting for setting in settings(threads) if environment.get(setting.name) != setting.value]


def read_threads(params_file: Path = PARAMS_FILE) -> int:
    """`threads` of params.yaml; 2 where file or key is missing or damaged, which its readers report."""
    from heimdall.core import strict_yaml  # noqa: PLC0415 - before the installation there is no YAML

    try:
        loaded = strict_yaml.parse(params_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return DEFAULT_THREADS
    threads = loaded.get("threads") if isinstance(loaded, dict) else None
    return threads if isinstance(threads, int) else DEFAULT_THREADS


def ensure(params_file: Path = PARAMS_FILE, *, quiet: bool = False) -> None:
    """Replace this process by one with the recipe's environment, unless it already has it.

    Variables that somebody had set to something else are named on stderr, and so is what cannot be
    mended (see `warn`). With HEIMDALL_RECIPE=off the process goes on as it is and all of it is named.

    Args:
        params_file: Where `threads` stands, with requirements/ beside it.
        quiet: Name nothing: for who asked for that, and for programs whose output nobody records.
    """
    threads = read_threads(params_file)
    wrong = differing(os.environ, threads)
    # What still differs after the replacement is set by the interpreter's own start (sitecustomize).
    replaced = os.environ.get(REPLACED) == str(os.getpid())
    if not wrong or replaced or os.environ.get(SWITCH) == "off":
        if not quiet:
            warn(threads, params_file.parent)
        return
    for setting in wrong:
        if setting.name in os.environ and not quiet:
            change = "removed" if setting.value is None else f"replaced by {setting.value}"
            _say(f"{setting.name}={os.environ[setting.name]} is {change}: {setting.why}")
    removed = {setting.name for setting in wrong if setting.value is None}
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    environment = kept | recipe(threads) | {REPLACED: str(os.getpid())}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def warn(threads: int, root: Path = Path()) -> None:
    """Say on stderr, once in a process, why its outputs need not be the bytes of dvc.lock; else nothing.

    For code that did not come through `ensure`, such as a notebook: it is too late to set anything, but
    not to know.

    Args:
        threads: Number of compute threads.
        root: The repository, where the lock file is.
    """
    found = [
        f"{setting.name} is {os.environ.get(setting.name, 'not set')}, "
        f"{'and should not be set' if setting.value is None else f'not {setting.value}'}: {setting.why}"
        for setting in differing(os.environ, threads)
    ]
    found += foreign_cpu(os.uname().machine, _read(Path("/proc/cpuinfo")))
    found += foreign_software(_read(root / LOCK_FILE))
    for line in found:
        _say(line)
    if found:
        _say("the outputs need not be the bytes of dvc.lock")


def foreign_cpu(architecture: str, cpuinfo: str) -> list[str]:
    """What keeps a CPU from computing the recorded bytes, one sentence each.

    Args:
        architecture: As `uname -m` says.
        cpuinfo: The text of /proc/cpuinfo.
    """
    if architecture != "x86_64":
        return [f"the machine is {architecture}, not x86_64: its kernels are others"]
    flags = {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}
    return [
        f"the CPU has no {flag.upper()}: its kernels are others" for flag in CPU_FLAGS if flag not in flags
    ]


def foreign_software(lock: str) -> list[str]:
    """Where this interpreter and its libraries are not the locked ones, one sentence each.

    Args:
        lock: The text of requirements/runtime.txt; empty where there is none, and then nothing is compared.
    """
    if not lock:
        return []
    locked, installed = locked_versions(lock), installed_versions()
    found = [
        f"{name} {installed.get(name, '(none)')} is installed, not {locked[name]} ({LOCK_FILE}): "
        "another version may compute otherwise"
        for name in LIBRARIES
        if name in locked and installed.get(name) != locked[name]
    ]
    if sys.version_info[:2] not in PYTHONS:
        names = ", ".join("{}.{}".format(*version) for version in PYTHONS)
        found.append("Python is {}.{}: the lock is for {}".format(*sys.version_info[:2], names))
    return found


def locked_versions(lock: str) -> dict[str, str]:
    """Name and version of each package of a lock file that uv compiled, by its text.

    A package that has several versions is locked first for the oldest Python. Those of `LIBRARIES` have one
    for all of `PYTHONS`.
    """
    versions: dict[str, str] = {}
    for line in lock.splitlines():
        name, equals, rest = line.partition("==")
        if equals and not line.startswith(" "):
            versions.setdefault(name, rest.split()[0])
    return versions


def installed_versions() -> dict[str, str]:
    """Version of each of `LIBRARIES` that is installed, in the order of their names."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read(path: Path) -> str:
    """A text that may be missing, then empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _say(line: str) -> None:
    """Say it once in this process."""
    if line in _SAID:
        return
    _SAID.add(line)
    print(f"determinism: {line}", file=sys.stderr, flush=True)
