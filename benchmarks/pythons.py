"""Promise: the Python of an environment does not change a byte.

    python benchmarks/pythons.py 3.12 3.13      # each: a version or the path of an interpreter

A tiny simulated world goes through everything, once with this Python and once with each of the others, each
time in a clone of what is committed here, with servers of its own: seed, snapshot, features, trainings,
evaluation, export. The others get an environment with the locked packages (6 GB, removed afterwards). Every
output of the pipeline is compared. Exit code 0 only if all are equal. Three minutes for each Python on two
busy cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements/dev.txt"
# Nobody's own database, bucket, port or thread count.
OTHERS = ("AWS_", "DVC_", "HEIMDALL_", "MLFLOW_")
OUTPUTS = ("data", "models", "metrics", "plots")
# As in tests/projects.py.
TINY = {
    "epochs": 2,
    "warmup_epochs": 1,
    "evaluate": {"bootstrap_resamples": 50, "seed": 42},
    "pretrain": {
        "sessions": 8,
        "sessions_per_world": 4,
        "epochs": 1,
        "warmup_epochs": 1,
    },
}
SEED = ("heimdall", "demo", "seed", "--sessions", "24", "--transmitters", "12", "--seed", "5")


def run(folder: Path, programs: Path, *command: str) -> str:
    """Run a command of an environment in a folder.

    Raises:
        SystemExit: It fails.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    env = kept | {"PATH": path, "PYTHONPATH": "src", "HEIMDALL_TRACKING": "off"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pythons: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def installed(python: str, folder: Path) -> Path:
    """The programs of a new environment with the locked packages."""
    here = Path(sys.executable).parent
    run(REPOSITORY, here, "uv", "venv", "--quiet", "--python", python, str(folder))
    chosen = ("--quiet", "--python", str(folder / "bin" / "python"))
    run(REPOSITORY, here, "uv", "pip", "sync", *chosen, "--require-hashes", str(LOCK))
    own = ("--no-deps", "--no-build-isolation", "--editable", str(REPOSITORY))
    run(REPOSITORY, here, "uv", "pip", "install", *chosen, *own)
    return folder / "bin"


def hashes(root: Path, programs: Path) -> dict[str, str]:
    """SHA-256 of every output of the tiny world, made in a new clone.

    Args:
        root: The clone, to be made.
        programs: Folder of the environment's Python.
    """
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(root)], check=True)
    file = root / "params.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key, value in TINY.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    # What is committed must not be taken for what is made.
    for stale in (root / "dvc.lock", *(root / "metrics").glob("*.*"), *(root / "plots").glob("*.*")):
        if stale.name != ".gitignore":
            stale.unlink()
    try:
        run(root, programs, "heimdall", "services", "up")
        run(root, programs, *SEED)
        run(root, programs, "dvc", "repro")
    finally:
        run(root, programs, "heimdall", "services", "down", "--delete")
    files = [path for top in OUTPUTS for path in (root / top).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.name != ".gitignore"
    }


def main() -> int:
    """Build with every Python, compare, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pythons", nargs="+", help="versions or interpreters to compare this Python with")
    names: list[str] = parser.parse_args().pythons
    different = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = hashes(folder / "here", Path(sys.executable).parent)
        print(f"this Python, {sys.version.split()[0]}: {len(ours)} files", flush=True)
        for number, name in enumerate(names):
            programs = installed(name, folder / f"environment-{number}")
            theirs = hashes(folder / f"clone-{number}", programs)
            version = run(REPOSITORY, programs, "python", "--version").strip()
            differing = [path for path in ours | theirs if ours.get(path) != theirs.get(path)]
            print(
                f"{version}: {len(theirs)} files, {len(differing)} differ", *differing, sep="\n  ", flush=True
            )
            different += len(differing)
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
