"""Which code made this: the rooms of each stage, as dvc.yaml declares them, and the hashes of their modules.

dvc.yaml is the one declaration. DVC runs a stage again when one of its rooms changes; the record in a model,
the checkpoints of a training and `heimdall lineage` name the modules of the same rooms.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from heimdall.core import artifacts, paths
from heimdall.core.errors import HeimdallError

PACKAGE = Path(__file__).resolve().parents[1]
PREFIX = "src/heimdall/"
PIPELINE = paths.CLONE / "dvc.yaml"


def of_stage(stage: str, pipeline: Path = PIPELINE) -> tuple[str, ...]:
    """The rooms that a stage depends on.

    Args:
        stage: Its name in dvc.yaml.
        pipeline: The dvc.yaml; that of the clone whose code runs.

    Returns:
        Folders relative to the package, such as "pipeline/train", in the order of dvc.yaml.

    Raises:
        HeimdallError: There is no such file, or no such stage in it.
    """
    try:
        deps = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"][stage]["deps"]
    except FileNotFoundError:
        cause = "it declares which code a stage is made of, and the file is missing"
        raise HeimdallError(
            str(pipeline),
            cause,
            f"Restore it with `git checkout {pipeline.name}` in that folder, a clone of the repository",
        ) from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        problem = " ".join(repr(error).split())
        raise HeimdallError(
            str(pipeline),
            f"no stage {stage} with deps ({problem})",
            f"Correct it, or restore it with `git checkout {pipeline.name}`",
        ) from None
    return tuple(dep.removeprefix(PREFIX) for dep in deps if dep.startswith(PREFIX))


def hashes(*names: str, package: Path = PACKAGE) -> dict[str, str]:
    """SHA-256 of the source of every module of some rooms.

    Args:
        names: Folders relative to the package, or modules without their suffix, such as "core/randomness".
        package: The package's folder.

    Returns:
        Hashes by dotted module name, in the order of the names.

    Raises:
        HeimdallError: There is no such room or module.
    """
    found = {}
    for name in names:
        room, module = package / name, (package / name).with_suffix(".py")
        files = sorted(room.rglob("*.py")) if room.is_dir() else [module]
        for file in files:
            if not file.is_file():
                raise HeimdallError(str(room), "no such room", "Correct the deps in dvc.yaml")
            parts = file.relative_to(package).with_suffix("").parts
            dotted = ".".join(("heimdall", *parts)).removesuffix(".__init__")
            found[dotted] = artifacts.sha256_file(file)
    return dict(sorted(found.items()))
