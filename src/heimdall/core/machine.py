"""The machine that computes: what a differing bit may be due to. It names no host, no path and no user.

reference.json in the repository's root is the machine on which the committed dvc.lock was made.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from heimdall.core import artifacts, determinism
from heimdall.core.errors import HeimdallError

REFERENCE = Path("reference.json")
# Prefixes of the instruction sets by which libraries choose kernels, as torch names them.
INSTRUCTION_SETS = ("amx", "avx", "f16c", "fma")


@dataclass(frozen=True)
class Machine:
    """A machine's fingerprint.

    Attributes:
        cpu: Name of the CPU, by CPUID: an emulated one is named, not its host.
        instruction_sets: Those by which libraries choose kernels, sorted.
        cores: Logical processors.
        threads: Compute threads of the recipe.
        python: Version of the interpreter.
        platform: System, architecture and C library.
        libraries: Version of each installed library that computes, in the order of their names.
        gpu: Name, CUDA and cuDNN of the first GPU; None where torch sees none.
    """

    cpu: str
    instruction_sets: tuple[str, ...]
    cores: int
    threads: int
    python: str
    platform: str
    libraries: Mapping[str, str]
    gpu: str | None

    def rows(self) -> dict[str, str]:
        """The fields as text by their names, a row for each library."""
        rows = {name: str(value) for name, value in asdict(self).items() if name != "libraries"}
        rows["instruction_sets"] = " ".join(self.instruction_sets)
        rows["gpu"] = self.gpu or "none"
        return rows | dict(self.libraries)


def here(threads: int) -> Machine:
    """This machine.

    Args:
        threads: Compute threads of the recipe.
    """
    import torch  # noqa: PLC0415 - it takes 2 s, and who only reads a fingerprint need not wait for it

    capabilities = torch.cpu.get_capabilities()
    return Machine(
        cpu=str(capabilities["cpu_name"]),
        instruction_sets=tuple(
            sorted(name for name, has in capabilities.items() if has and name.startswith(INSTRUCTION_SETS))
        ),
        cores=os.cpu_count() or 1,
        threads=threads,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        libraries=determinism.installed_versions(),
        gpu=_gpu(),
    )


def write(path: Path, machine: Machine) -> None:
    """Write a fingerprint as JSON, whole or not at all."""
    artifacts.write_json(path, asdict(machine))


def read(path: Path) -> Machine:
    """Read a fingerprint.

    Raises:
        HeimdallError: The file is missing or no fingerprint.
    """
    artifacts.require(path, remedy="Record this machine: `heimdall machine --record`")
    remedy = f"Restore it with `git checkout {path}`, or record this machine: `heimdall machine --record`"
    values = artifacts.read_json(path, remedy)
    try:
        machine = Machine(**values | {"instruction_sets": tuple(values["instruction_sets"])})
        machine.rows()
    except (TypeError, ValueError, KeyError):
        raise HeimdallError(str(path), "not the fingerprint of a machine", remedy) from None
    return machine


def differences(recorded: Machine, found: Machine) -> list[tuple[str, str, str]]:
    """Where two machines differ: (field or library, recorded, found), "none" where a library is missing."""
    ours, theirs = recorded.rows(), found.rows()
    names = [*ours, *(name for name in theirs if name not in ours)]
    pairs = [(name, ours.get(name, "none"), theirs.get(name, "none")) for name in names]
    return [(name, one, other) for name, one, other in pairs if one != other]


def _gpu() -> str | None:
    import torch  # noqa: PLC0415 - as above

    if not torch.cuda.is_available():
        return None
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
