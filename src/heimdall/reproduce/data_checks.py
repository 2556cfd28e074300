"""What lineage compares of the data: whether they are those that a model names, row by row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from heimdall.core.errors import HeimdallError
from heimdall.core.provenance import provenance
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, Split
from heimdall.recordings import archive
from heimdall.recordings.archive import RecordingKey
from heimdall.reproduce.checks import Check, compared
from heimdall.reproduce.model_file import Statement, unreadable
from heimdall.reproduce.paths import FEATURES
from heimdall.reproduce.rows import UNUSED, Row

SPLITS: tuple[Split, ...] = ("train", "val", "test")


# What reading a damaged file may raise besides our own error.
_DAMAGE = (HeimdallError, ValueError, LookupError, TypeError, pa.ArrowException)


def data_checks(tree: Path, says: Statement) -> tuple[list[Check], list[Row]]:
    """Compare the data of a tree with what a model file says of them.

    Args:
        tree: It has data/snapshot/ and data/features/.
        says: What the file says.

    Returns:
        The checks; and the rows, in the snapshot's order, if the snapshot is the one that the file names.
    """
    try:
        measurements, fingerprint = archive.read_measurements(tree), archive.data_fingerprint(tree)
    except _DAMAGE as error:
        return [Check(f"{archive.SNAPSHOT}: its rows", unreadable(error))], []
    what = f"{archive.SNAPSHOT}: data fingerprint of its rows"
    checks = [compared(what, fingerprint, says.data_fingerprint)]
    config = DatasetConfig(tree / FEATURES)
    try:
        network, index = dataset.read_network(config), dataset.read_index(config)
        split = {
            key: name
            for name in SPLITS
            for key in _keys(index[dataset.members(index, name, says.validation_split)])
        }
        learned = provenance(index.loc[~dataset.members(index, "test", says.validation_split), "simulated"])
    except _DAMAGE as error:
        return [*checks, Check(f"{FEATURES}: its index and network", unreadable(error))], []
    checks += [
        compared(
            f"{FEATURES}/network.json: data fingerprint", network.data_fingerprint, says.data_fingerprint
        ),
        compared(f"{FEATURES}: where the recordings that it learned from come from", learned, says.data),
    ]
    if fingerprint != says.data_fingerprint:
        return checks, []
    columns = [measurements[name].tolist() for name in ("measurement_id", "object_key", "object_sha256")]
    return checks, [
        Row(measurement_id, session_id, websdr_id, split.get((session_id, websdr_id), UNUSED), key, sha256)
        for (session_id, websdr_id), measurement_id, key, sha256 in zip(
            _keys(measurements), *columns, strict=True
        )
    ]


def _keys(rows: pd.DataFrame) -> list[RecordingKey]:
    return list(zip(rows["session_id"].tolist(), rows["websdr_id"].tolist(), strict=True))
