"""A model file, and what it says of its own making: data, parameters, modules. It names no git revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heimdall.core import artifacts, errors, remedies
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock

WEIGHTS_SUFFIX, ONNX_SUFFIX = ".safetensors", ".onnx"


@dataclass(frozen=True)
class Statement:
    """What a model file says of its own making.

    Attributes:
        data: "simulated", "recorded" or "mixed".
        data_fingerprint: Of the snapshot.
        validation_split: Share of the development recordings that validated.
        params: Parameters by dotted name.
        modules: SHA-256 of each module's source, by the module's name.
        weights_sha256: Of the .safetensors file beside which it stood; None in an ONNX file.
        others: Further hashes by name: pretrained weights, a checkpoint that was gone on from.
    """

    data: str
    data_fingerprint: str
    validation_split: float
    params: Mapping[str, Any]
    modules: Mapping[str, str]
    weights_sha256: str | None
    others: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        path: As it was named.
        sha256: Of its bytes.
        md5: Of its bytes, as dvc.lock names it.
        says: What it says of its making; None where that cannot be read.
        damage: Why not, else "".
    """

    path: Path
    sha256: str
    md5: str
    says: Statement | None
    damage: str


def read(file: Path) -> Model:
    """A model file's hashes, and what it says of itself.

    Raises:
        HeimdallError: It cannot be read, is of another kind, or its .json is missing.
    """
    if file.suffix not in (ONNX_SUFFIX, WEIGHTS_SUFFIX):
        remedy = f"Name one that ends with {ONNX_SUFFIX} or {WEIGHTS_SUFFIX}"
        raise HeimdallError(str(file), "not a model file", remedy)
    try:
        sha256, md5 = artifacts.sha256_file(file), dvc_lock.md5(file)
    except OSError as error:
        raise errors.unreadable(file, error, f"{remedies.BRING}; or name another file") from None
    beside = file.with_suffix(".json")
    if file.suffix == WEIGHTS_SUFFIX and not beside.is_file():
        cause = f"what {file.name} was made of stands in it, and it is missing"
        raise HeimdallError(
            str(beside), cause, f"Put {beside.name} beside the weights; that of models/ comes by `dvc pull`"
        )
    try:
        record = _onnx_record(file) if file.suffix == ONNX_SUFFIX else artifacts.read_json(beside)
        says, damage = statement(record), ""
    except Exception as error:  # protobuf's own exceptions share no other base class
        says, damage = None, unreadable(error)
    return Model(file, sha256, md5, says, damage)


def statement(record: Mapping[str, Any]) -> Statement:
    """What the record in a model file says.

    Args:
        record: As the train stage wrote it.

    Raises:
        KeyError: A field is missing.
    """
    known = ("data", "data_fingerprint", "validation_split", "params", "modules", "weights_sha256")
    return Statement(
        data=str(record["data"]),
        data_fingerprint=str(record["data_fingerprint"]),
        validation_split=float(record["validation_split"]),
        params=dvc_lock.flat(record["params"]),
        modules=dict(record["modules"]),
        weights_sha256=record.get("weights_sha256"),
        others={
            name: value for name, value in record.items() if name not in known and name.endswith("sha256")
        },
    )


def unreadable(error: Exception) -> str:
    """What a check says of something that could not be read."""
    problem = str(error) if isinstance(error, HeimdallError) else repr(error)
    return f"unreadable ({' '.join(problem.split())[:200]})"


def _onnx_record(file: Path) -> dict[str, Any]:
    import onnx  # noqa: PLC0415 - weights are traced without it

    graph = onnx.load_model(file, load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in graph.metadata_props}
