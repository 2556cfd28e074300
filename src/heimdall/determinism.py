"""The environment in which the same inputs give the same bytes, set before anything computes.

Vector libraries choose their kernels once, when they are loaded, by what the CPU offers; kernels
differ in the last bit. So the choice is fixed here, and a process that was started without it
replaces itself. This module imports the standard library only: it must run before NumPy and torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

RECIPE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
    # No bit depends on it: threads that wait sleep, or a busy machine trains ten times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def recipe(threads: int) -> dict[str, str]:
    """The environment variables of a reproducible process.

    Args:
        threads: Number of compute threads. It is part of the result: sums are split by it.

    Returns:
        Variable names and values, to be set before the interpreter starts.
    """
    return RECIPE | {"OMP_NUM_THREADS": str(threads)}


def ensure(params_file: Path = Path("params.yaml")) -> None:
    """Replace this process by one with the recipe's environment, unless it already has it.

    Args:
        params_file: Where `threads` stands; 2 where the file or the key is missing or damaged (that is
            reported by whoever reads the parameters).
    """
    threads = 2
    if params_file.is_file():
        try:
            loaded = yaml.safe_load(params_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            loaded = None
        if isinstance(loaded, dict) and isinstance(loaded.get("threads"), int):
            threads = loaded["threads"]
    wanted = recipe(threads)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)  # noqa: S606
