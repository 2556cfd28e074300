"""From a model file to the rows that made it, and no changed byte on the way that is not named."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from heimdall.commands.lineage import lineage
from heimdall.core.errors import HeimdallError
from heimdall.storage.objectstore import ObjectStore
from tests.conftest import Services
from tests.projects import STAGES, Project

ONNX = "models/localizer.onnx"
MEASUREMENTS = "data/snapshot/measurements.parquet"
COLUMNS = ["measurement_id", "session_id", "websdr_id", "object_key", "object_sha256"]
Change = Callable[[bytes], bytes]
Trace = Callable[..., Result]


@pytest.fixture(scope="module")
def traced(slower: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A second model, of an experiment that was committed and pushed; the first is one commit back."""
    return slower.copy(tmp_path_factory.mktemp("lineage") / "heimdall")


@pytest.fixture
def trace(traced: Project, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """The command in this process, which has loaded its libraries already."""
    monkeypatch.chdir(traced.root)
    return lambda *arguments: CliRunner().invoke(lineage, [*arguments])


@contextmanager
def changed(path: Path, change: Change) -> Iterator[None]:
    """A file with other bytes, for a while."""
    content = path.read_bytes()
    assert change(content) != content
    path.write_bytes(change(content))
    try:
        yield
    finally:
        path.write_bytes(content)


def flip(content: bytes) -> bytes:
    """One bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def flip_last(content: bytes) -> bytes:
    """One bit at the end, where the format names itself."""
    return content[:-1] + bytes([content[-1] ^ 1])


def another_object(content: bytes) -> bytes:
    """The rows as someone would write them who exchanged a recording."""
    table = pq.read_table(io.BytesIO(content))
    hashes = table["object_sha256"].to_pylist()
    column = table.schema.get_field_index("object_sha256")
    forged = table.set_column(column, "object_sha256", pa.array(["0" * 64, *hashes[1:]]))
    sink = io.BytesIO()
    pq.write_table(forged, sink)
    return sink.getvalue()


def another_fingerprint(content: bytes) -> bytes:
    """The ONNX file as someone would write it who wants to hide its data."""
    graph = onnx.load_model_from_string(content)
    entry = next(entry for entry in graph.metadata_props if entry.key == "data_fingerprint")
    entry.value = f'"{"0" * 64}"'
    return bytes(graph.SerializeToString(deterministic=True))


def another_hash(stage: str, output: str) -> Change:
    """Another hash for an output in dvc.lock."""

    def change(content: bytes) -> bytes:
        lock = yaml.safe_load(content)
        entry = next(entry for entry in lock["stages"][stage]["outs"] if entry["path"] == output)
        entry["md5"] = "0" * 32 + entry["md5"][32:]
        return yaml.safe_dump(lock, sort_keys=False).encode()

    return change


def head(project: Project, revision: str = "HEAD") -> str:
    return project.run("git", "rev-parse", "--short=12", revision).stdout.strip()


def verdict(output: str) -> str:
    """The first line on stdout; what stands before it is progress, on stderr."""
    return next(line for line in output.splitlines() if not line.startswith("lineage: "))


def printed_rows(output: str) -> pd.DataFrame:
    """The table of the command, its columns named as in the snapshot."""
    lines = [line.split() for line in output.splitlines() if re.search(r" sessions/\S+ +[0-9a-f]{64}$", line)]
    rows = pd.DataFrame(lines, columns=[*COLUMNS[:3], "split", *COLUMNS[3:]])
    return rows.astype({"websdr_id": "int32"})


def test_it_prints_the_rows_of_the_snapshot_and_the_objects_in_the_bucket(
    traced: Project, shared_services: Services
) -> None:
    output = traced.run("heimdall", "lineage", ONNX, "--all").stdout
    rows = printed_rows(output)
    measurements = pd.read_parquet(traced.root / "data/snapshot/measurements.parquet")
    assert len(rows) > 50
    assert (rows[COLUMNS].to_numpy() == measurements[COLUMNS].to_numpy()).all()
    index = pd.read_parquet(traced.root / "data/features/index.parquet")
    judged = set(index.loc[index["split"] == "test", "measurement_id"])
    validated = set(
        index.loc[(index["split"] == "development") & (index["validation_rank"] < 0.2), "measurement_id"]
    )
    assert set(rows.loc[rows["split"] == "test", "measurement_id"]) == judged
    assert set(rows.loc[rows["split"] == "val", "measurement_id"]) == validated
    assert set(rows["split"]) == {"train", "val", "test"}
    one = rows.iloc[7]
    stored = ObjectStore(shared_services.endpoints.s3, traced.env["HEIMDALL_RAW_BUCKET"]).get(
        one["object_key"], 2**24
    )
    assert hashlib.sha256(stored).hexdigest() == one["object_sha256"]


def test_it_prints_hashes_revisions_stages_and_a_verdict(traced: Project, trace: Trace) -> None:
    shown = trace(ONNX, "--all")
    assert shown.exit_code == 0, shown.output
    content = (traced.root / ONNX).read_bytes()
    assert f"sha256  {hashlib.sha256(content).hexdigest()}\n" in shown.stdout
    assert f"{head(traced)}  " in shown.stdout
    assert head(traced, "HEAD~") not in shown.stdout
    assert "at the tip of: experiment slower, branch main\n" in shown.stdout
    assert "as_of  2026-03-01T00:00:00Z\n" in shown.stdout
    entries = r"^  (\w+)\n    sha256 of its entry  [0-9a-f]{64}$"
    assert sorted(re.findall(entries, shown.stdout, re.MULTILINE)) == sorted(STAGES)
    assert "data              simulated\n" in shown.stdout
    assert "CHANGED" not in shown.stdout
    assert verdict(shown.stdout) == f"unchanged: {ONNX} and all that made it are as recorded"


def test_without_all_it_is_short_and_as_json_it_is_whole(trace: Trace) -> None:
    short, whole = trace(ONNX), trace(ONNX, "--all")
    assert verdict(short.stdout) == verdict(whole.stdout)
    assert len(short.stdout.splitlines()) < 40
    assert re.search(r"^  \d+ train \(trained the weights\), ", short.stdout, re.MULTILINE)
    said = json.loads(trace(ONNX, "--json").stdout)
    assert (said["unchanged"], said["changed"]) == (True, [])
    listed = printed_rows(whole.stdout)
    assert [row["object_sha256"] for row in said["rows"]] == listed["object_sha256"].tolist()
    assert {stage["name"] for stage in said["stages"]} == set(STAGES)
    assert all(check["problem"] == "" for check in said["checks"])


def test_weights_and_quantized_model_lead_to_the_same_rows(trace: Trace) -> None:
    shown = {
        name: trace(f"models/localizer{name}", "--all") for name in (".onnx", ".int8.onnx", ".safetensors")
    }
    assert {result.exit_code for result in shown.values()} == {0}
    rows = [printed_rows(result.stdout) for result in shown.values()]
    assert len(rows[0]) > 50
    assert rows[0].equals(rows[1])
    assert rows[0].equals(rows[2])
    # What judged or exported the weights did not make them.
    assert "metrics/eval_full.json" not in shown[".safetensors"].stdout


def test_a_copy_of_an_older_model_leads_to_its_revision(built: Project, traced: Project) -> None:
    copy = built.root / ONNX
    done = traced.run_here(lineage, str(copy), "--all")
    assert done.returncode == 0, done.stdout
    assert f"\n  {head(traced, 'HEAD~')}  " in done.stdout
    assert "Learn more slowly" not in done.stdout
    assert "the workspace" not in done.stdout
    assert len(printed_rows(done.stdout)) > 50
    assert verdict(done.stdout) == f"unchanged: {copy} and all that made it are as recorded"
    assert list((traced.root / ".heimdall/lineage").iterdir()) == []


@pytest.mark.series
def test_a_changed_copy_of_an_older_model_is_told_from_it(
    built: Project, traced: Project, tmp_path: Path
) -> None:
    copy = tmp_path / "localizer.onnx"
    copy.write_bytes(flip((built.root / ONNX).read_bytes()))
    done = traced.run("heimdall", "lineage", str(copy), check=False)
    assert done.returncode == 1
    assert "nowhere: neither dvc.lock of the workspace nor that of any commit has it" in done.stdout
    assert f"but of other bytes:\n  {head(traced, 'HEAD~')}  " in done.stdout
    assert verdict(done.stdout) == f"CHANGED: {copy}"


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        pytest.param(ONNX, flip, [ONNX], id="model"),
        pytest.param(
            ONNX, another_fingerprint, [ONNX, "data/snapshot", "data/features/network.json"], id="metadata"
        ),
        pytest.param("data/features/shards/*", flip, ["data/features/shards/*"], id="feature"),
        pytest.param(MEASUREMENTS, flip_last, [MEASUREMENTS, "data/snapshot"], id="damaged rows"),
        pytest.param(MEASUREMENTS, another_object, [MEASUREMENTS, "data/snapshot"], id="forged row"),
        pytest.param(
            "src/heimdall/network/loss.py",
            lambda content: content + b"#",
            [
                "module heimdall.network.loss",
                *(f"dvc.lock ({name})" for name in ("pretrain", "train", "evaluate", "export")),
            ],
            id="source",
        ),
        pytest.param(
            "params.yaml",
            lambda content: content.replace(b"threads: 2", b"threads: 3"),
            [f"dvc.lock ({name})" for name in ("pretrain", "train", "evaluate", "export")],
            id="params",
        ),
        pytest.param(
            "dvc.lock",
            another_hash("featurize", "data/features"),
            [
                "data/features",
                *(f"dvc.lock ({name})" for name in ("train", "evaluate", "export", "featurize")),
            ],
            id="lock",
        ),
        pytest.param("metrics/eval_full.json", flip, ["metrics/eval_full.json"], id="metrics"),
    ],
)
def test_a_changed_byte_is_named(
    traced: Project, trace: Trace, path: str, change: Change, named: list[str]
) -> None:
    file = min(traced.root.glob(path))
    with changed(file, change):
        shown = trace(ONNX)
    assert shown.exit_code == 1
    expected = [name.replace(path, file.relative_to(traced.root).as_posix()) for name in named]
    found = verdict(shown.stdout).removeprefix("CHANGED: ").split(", ")
    assert sorted(found) == sorted(expected)


def test_another_hash_of_the_model_in_the_lock_is_named_by_the_commit_that_knows_better(
    traced: Project,
) -> None:
    weights = "models/localizer.safetensors"
    with changed(traced.root / "dvc.lock", another_hash("train", weights)):
        done = traced.run_here(lineage, weights, "--all")
    assert done.returncode == 1
    assert f"ok       {weights}: MD5 in dvc.lock of commit {head(traced)}\n" in done.stdout
    assert verdict(done.stdout) == "CHANGED: dvc.lock of the workspace"


def test_another_record_beside_the_weights_is_named(traced: Project, trace: Trace) -> None:
    record = traced.root / "models/localizer.json"
    with changed(record, lambda content: content.replace(b'"lr": 1e-05', b'"lr": 1e-04')):
        shown = trace("models/localizer.safetensors")
    assert shown.exit_code == 1
    assert "parameter lr: found 0.0001, recorded 1e-05" in shown.stdout
    assert verdict(shown.stdout) == "CHANGED: models/localizer.json, parameter lr"


def test_without_the_data_it_says_how_to_get_them(traced: Project, trace: Trace, tmp_path: Path) -> None:
    folder = traced.root / "data/features"
    folder.rename(tmp_path / "features")
    try:
        failed = trace(ONNX).exception
    finally:
        (tmp_path / "features").rename(folder)
    assert isinstance(failed, HeimdallError)
    assert failed.subject == "data/features"
    assert failed.remedy == (
        "Run `dvc repro` or `dvc pull`; in a new clone run `heimdall services up` before"
    )
