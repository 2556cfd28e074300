"""data/snapshot/ as later stages read it: measurements, receivers, who was absent, IQ shards.

Knows nothing of the database and the object store, so that a stage that depends on this module does not
depend on those.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError
from heimdall.recordings.iq import Samples

SNAPSHOT = Path("data/snapshot")
MEASUREMENTS_FILE = "measurements.parquet"
RECEIVERS_FILE = "receivers.parquet"
ABSENT_FILE = "absent.parquet"
IQ_FOLDER = "iq"
SHARD_SUFFIX = ".parquet"
# Arrow's own allocator keeps the memory of every table that was read.
pa.set_memory_pool(pa.system_memory_pool())

GROUP_ROWS = 4096  # of a row group of a table: so many are held when it is written
ITERATED_ROWS = 2000

_TIME = pa.timestamp("us", tz="UTC")
MEASUREMENTS_SCHEMA = pa.schema(
    [
        ("measurement_id", pa.string()),
        ("session_id", pa.string()),
        ("websdr_id", pa.int32()),
        ("latitude_deg", pa.float64()),
        ("longitude_deg", pa.float64()),
        ("frequency_mhz", pa.float64()),
        ("snr_db", pa.float64()),
        ("timestamp", _TIME),
        ("approved_at", _TIME),
        ("sample_rate_hz", pa.float64()),
        ("samples", pa.int64()),
        ("source_id", pa.string()),
        ("modulation", pa.string()),
        ("simulated", pa.bool_()),
        ("start_gps_ns", pa.int64()),
        ("timing_sigma_ns", pa.float64()),
        ("object_key", pa.string()),
        ("object_etag", pa.string()),
        ("object_bytes", pa.int64()),
        ("object_sha256", pa.string()),
        ("shard", pa.string()),
    ]
)
RECEIVERS_SCHEMA = pa.schema(
    [
        ("websdr_id", pa.int32()),
        ("name", pa.string()),
        ("latitude_deg", pa.float64()),
        ("longitude_deg", pa.float64()),
        ("altitude_m", pa.float64()),
    ]
)
ABSENT_SCHEMA = pa.schema([("session_id", pa.string()), ("websdr_id", pa.int32())])
SHARD_FORMAT = 2  # raised when `pack_shard` changes: shards of another format are made again
SHARD_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("websdr_id", pa.int32()),
        ("sample_rate_hz", pa.float64()),
        ("i", pa.list_(pa.float32())),
        ("q", pa.list_(pa.float32())),
    ]
)
_FORMAT_ENTRY = {"heimdall_shard_format": str(SHARD_FORMAT)}
_SHARD_LEAVES = ["i.list.element", "q.list.element"]

RecordingKey = tuple[str, int]  # session_id, websdr_id


@dataclass(frozen=True)
class StoredRecording:
    """One recording as a shard holds it.

    Attributes:
        session_id: Lower-case UUID.
        websdr_id: Receiver.
        sample_rate_hz: Samples a second.
        samples: IQ samples, shape (n,), complex64.
    """

    session_id: str
    websdr_id: int
    sample_rate_hz: float
    samples: Samples


def pack_shard(recordings: Iterable[StoredRecording]) -> bytes | None:
    """The bytes of a shard, which depend on the recordings and their order alone.

    Each session is a row group, so that no more of them need be held at a time. Byte-stream-split puts the
    bytes of equal weight of all floats side by side, where zstd finds something to compress.

    Args:
        recordings: Those of a session stand together.

    Returns:
        None if there is no recording.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        SHARD_SCHEMA,
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        use_byte_stream_split=_SHARD_LEAVES,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        count = 0
        for _, session in itertools.groupby(recordings, key=lambda recording: recording.session_id):
            table = _session_table(list(session))
            writer.write_table(table, row_group_size=len(table))
            count += 1
        writer.add_key_value_metadata(_FORMAT_ENTRY)
    return bytes(sink.getvalue()) if count else None


def _session_table(session: Sequence[StoredRecording]) -> pa.Table:
    ends = pa.array(np.cumsum([0, *(len(one.samples) for one in session)], dtype=np.int32))

    def leaf(part: str) -> pa.Array:
        values = np.concatenate([getattr(one.samples, part) for one in session], dtype=np.float32)
        return pa.ListArray.from_arrays(ends, pa.array(values))

    return pa.table(
        [
            pa.array([one.session_id for one in session]),
            pa.array([one.websdr_id for one in session], pa.int32()),
            pa.array([one.sample_rate_hz for one in session]),
            leaf("real"),
            leaf("imag"),
        ],
        schema=SHARD_SCHEMA,
    )


def is_current(path: Path) -> bool:
    """Whether a shard is there and of today's format; cheap, for it reads the footer only."""
    try:
        entries = pq.read_metadata(path).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return False
    return all(entries.get(name.encode()) == value.encode() for name, value in _FORMAT_ENTRY.items())


def read_shard(path: Path) -> dict[RecordingKey, Samples]:
    """The recordings of one shard, in its order; as `iterate_shard`, all at once.

    Returns:
        IQ samples, shape (n,), complex64, by (session_id, websdr_id).
    """
    sessions = iterate_shard(path)
    return {
        (session_id, websdr_id): iq for session_id, session in sessions for websdr_id, iq in session.items()
    }


def iterate_shard(path: Path) -> Iterator[tuple[str, dict[int, Samples]]]:
    """The sessions of one shard, in its order, of which one at a time is held.

    Args:
        path: A file of data/snapshot/iq/.

    Yields:
        Its identifier, and IQ samples, shape (n,), complex64, by websdr_id.

    Raises:
        HeimdallError: The file is missing or damaged, were it by a single bit: parquet would not notice, and
            features of it would be found again by the shard's name when it is mended.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow, SHARD_SCHEMA)
            if not artifacts.has_its_name(path):
                raise HeimdallError(str(path), "damaged (its hash is not its name)", remedies.RESTORE)
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                yield table["session_id"][0].as_py(), _samples(table)
    except (pa.ArrowInvalid, OSError) as error:
        raise remedies.of_output(path, error, "damaged") from None


def _samples(session: pa.Table) -> dict[int, Samples]:
    """Of a session, by receiver."""
    found: dict[int, Samples] = {}
    for websdr_id, i, q in zip(session["websdr_id"].to_pylist(), session["i"], session["q"], strict=True):
        samples = np.empty(len(i), np.complex64)
        samples.real, samples.imag = i.values.to_numpy(), q.values.to_numpy()
        found[websdr_id] = samples
    return found


def read_measurements(root: Path = Path(), columns: Sequence[str] | None = None) -> pd.DataFrame:
    """data/snapshot/measurements.parquet, one row a good recording.

    Args:
        root: The repository's root.
        columns: Which columns; None for all.

    Returns:
        Columns as in docs/architecture.md; `start_gps_ns` is Int64 with NA where the clock is not
        disciplined, `source_id` and `modulation` are missing (`isna`) where unknown.

    Raises:
        HeimdallError: The file is missing or damaged.
    """
    return _as_measurements(_read(root / SNAPSHOT / MEASUREMENTS_FILE, MEASUREMENTS_SCHEMA, columns))


def _as_measurements(table: pa.Table) -> pd.DataFrame:
    rows: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return rows.astype({name: "int64" for name in ("samples", "object_bytes") if name in rows})


def iterate_measurements(path: Path = SNAPSHOT / MEASUREMENTS_FILE) -> Iterator[pd.DataFrame]:
    """The rows of `read_measurements` in their order, some thousands at a time; errors as there.

    Args:
        path: The file, which may still lie elsewhere.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow, MEASUREMENTS_SCHEMA)
            for batch in file.iter_batches(ITERATED_ROWS):
                yield _as_measurements(pa.table(batch).cast(MEASUREMENTS_SCHEMA))
    except (pa.ArrowInvalid, OSError) as error:
        raise remedies.of_output(path, error, "damaged") from None


def read_receivers(root: Path = Path()) -> pd.DataFrame:
    """data/snapshot/receivers.parquet, ordered by `websdr_id`; errors as for `read_measurements`."""
    rows: pd.DataFrame = _read(root / SNAPSHOT / RECEIVERS_FILE, RECEIVERS_SCHEMA).to_pandas()
    return rows


def read_absent(root: Path = Path()) -> pd.DataFrame:
    """data/snapshot/absent.parquet; errors as for `read_measurements`.

    Args:
        root: The repository's root.

    Returns:
        `session_id` and `websdr_id` of the receivers that are in no recording of a session and of which that
        tells nothing: their recording is in the quarantine, or they did not stand there at that time.
    """
    rows: pd.DataFrame = _read(root / SNAPSHOT / ABSENT_FILE, ABSENT_SCHEMA).to_pandas()
    return rows


def absent_from(session_id: str, root: Path = Path()) -> tuple[int, ...]:
    """The receivers of `read_absent` of one session, ascending; errors as for `read_measurements`."""
    rows = read_absent(root)
    return tuple(sorted(rows.loc[rows["session_id"] == session_id, "websdr_id"].tolist()))


class DataFingerprint:
    """What identifies the content of a snapshot, however it is stored, computed batch by batch.

    It is the SHA-256 over all rows, which name every object by its hash. Entity tags and shards are left
    out: they tell how the objects were uploaded and packed.
    """

    _NAMES = tuple(name for name in MEASUREMENTS_SCHEMA.names if name not in ("object_etag", "shard"))

    def __init__(self) -> None:
        self._hash = hashlib.sha256(f"[[{json.dumps(self._NAMES)}, [".encode())
        self._separator = ""

    def add(self, measurements: pd.DataFrame) -> None:
        """The next rows, as `read_measurements` gives them."""
        if len(measurements):
            text = _json_rows(measurements[[*self._NAMES]])
            self._hash.update((self._separator + text.removeprefix("[").removesuffix("]")).encode())
            self._separator = ", "

    def of(self, receivers: pd.DataFrame, absent: pd.DataFrame) -> str:
        """The hash, in hexadecimal, of all rows and of what `read_receivers` and `read_absent` give."""
        whole = self._hash.copy()
        tables = [
            f"[{json.dumps(list(table.columns))}, {_json_rows(table)}]" for table in (receivers, absent)
        ]
        whole.update(f"]], {', '.join(tables)}]".encode())
        return whole.hexdigest()


def data_fingerprint(root: Path = Path()) -> str:
    """The `DataFingerprint` of the snapshot in data/snapshot/; errors as for `read_measurements`."""
    found = DataFingerprint()
    for rows in iterate_measurements(root / SNAPSHOT / MEASUREMENTS_FILE):
        found.add(rows)
    return found.of(read_receivers(root), read_absent(root))


def _json_rows(table: pd.DataFrame) -> str:
    """The rows as lists of JSON; what is missing is null, and times are text."""
    columns = []
    for name in table.columns:
        column = table[name]
        values = column.tolist()
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            values = [value.isoformat() for value in values]
        gone = column.isna().tolist()
        columns.append([None if none else value for value, none in zip(values, gone, strict=True)])
    return json.dumps(list(zip(*columns, strict=True)), allow_nan=False)


def shard_path(name: str, root: Path = Path()) -> Path:
    """Where the shard `name` (column `shard` of the measurements) lies."""
    return root / SNAPSHOT / IQ_FOLDER / name


def write_table(path: Path, rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Write the columns of `schema` as parquet, whole or not at all, bytes by content alone.

    Args:
        path: File to write.
        rows: Rows with at least the schema's columns.
        schema: Names and types, in order.
    """
    starts = range(0, len(rows), ITERATED_ROWS)
    write_batches(path, (rows.iloc[first : first + ITERATED_ROWS] for first in starts), schema)


def write_batches(path: Path, batches: Iterable[pd.DataFrame], schema: pa.Schema) -> None:
    """As `write_table`, of rows that come in batches; the bytes do not depend on how they are divided."""
    with (
        artifacts.atomic(path) as partial,
        pq.ParquetWriter(
            partial, schema, compression="zstd", compression_level=3, store_schema=False
        ) as writer,
    ):
        waiting, written = schema.empty_table(), False
        for batch in batches:
            columns = [
                pa.array(batch[field.name].astype(object), field.type, from_pandas=True) for field in schema
            ]
            waiting = pa.concat_tables([waiting, pa.table(columns, schema=schema)])
            while len(waiting) >= GROUP_ROWS:
                writer.write_table(waiting.slice(0, GROUP_ROWS).combine_chunks(), GROUP_ROWS)
                waiting, written = waiting.slice(GROUP_ROWS), True
        if len(waiting) or not written:
            writer.write_table(waiting.combine_chunks(), GROUP_ROWS)


def _read(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow, schema)
            return file.read(wanted.names).select(wanted.names).cast(wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise remedies.of_output(path, error, "damaged") from None


def _check_names(path: Path, found: pa.Schema, schema: pa.Schema) -> None:
    if found.names != schema.names:
        cause = f"columns {', '.join(found.names)} instead of {', '.join(schema.names)}"
        raise HeimdallError(str(path), cause, "Run `dvc repro`")
