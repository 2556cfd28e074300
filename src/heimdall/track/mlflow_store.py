"""The MLflow store: where it is, the writer of runs, and the server that shows them.

Runs go to MLFLOW_TRACKING_URI, else to .heimdall/mlflow.db of the repository. Their files go to the bucket
`heimdall-mlflow` (HEIMDALL_MLFLOW_BUCKET) of the S3 server in use, without one to .heimdall/mlartifacts/,
and to where an MLflow server says if MLFLOW_TRACKING_URI names one: where that is a bucket, to the S3 server
in use, or to that of MLFLOW_S3_ENDPOINT_URL with the environment's AWS_* credentials. MLflow fixes the place
when it makes an experiment.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import revision
from heimdall.services import process
from heimdall.storage import embedded, endpoints
from heimdall.storage.objectstore import ObjectStore

EXPERIMENT = "heimdall"
BUCKET = variables.MLFLOW_BUCKET.read()
SCRATCH = ".heimdall"
# Tags by which a run is found again.
RECORD, LOCALIZER, OUTPUTS = "heimdall.record", "heimdall.localizer", "heimdall.outputs"
EXPERIMENT_NAME = "dvc_experiment"

METRICS_IN_BATCH, PARAMS_IN_BATCH = 1000, 100  # MLflow's limits
S3_VARIABLE = variables.MLFLOW_S3_ENDPOINT_URL.name  # MLflow's own
CONNECT_TIMEOUT_S = 5
UI_READY_TIMEOUT_S = 120.0
UI_STOP_TIMEOUT_S = 10.0
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
LIMITS = {variable.name: variable.default for variable in variables.MLFLOW_LIMITS}


@dataclass(frozen=True)
class Run:
    """What is recorded of one training, or of all that a pipeline made.

    Attributes:
        id: 32 hexadecimal digits: of this training, or of these outputs.
        name: What the user calls it; None for one of MLflow's names.
        time_ms: When it was made, milliseconds since 1970.
        params: Parameters of the training, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: By the name in MLflow; those that are no numbers become tags.
        tags: What else identifies the run.
        files: Content by path below the run's artifacts.
        onnx: The exported model, None where there is none yet.
    """

    id: str
    name: str | None
    time_ms: int
    params: Mapping[str, Any]
    epochs: list[Mapping[str, float]]
    metrics: Mapping[str, Any]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    onnx: bytes | None = None


@dataclass(frozen=True)
class Store:
    """Where runs go.

    Attributes:
        uri: MLflow's tracking address, with its password.
        artifacts: Where a new experiment's files go; None where a server decides.
        folder: Where MLflow runs: it makes folders of its own there.
        s3: The S3 server of the files, None where they go elsewhere.
        environment: Variables that MLflow needs. They hold credentials.
    """

    uri: str = field(repr=False)
    artifacts: str | None
    folder: Path
    s3: endpoints.Endpoints | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The address without secrets."""
        return without_secrets(self.uri)

    @property
    def is_server(self) -> bool:
        """Whether it is an MLflow server, not a database."""
        return self.uri.startswith(("http://", "https://"))


def main_repository() -> Path:
    """The repository that has the store: in a workspace of `dvc exp run --temp` or --queue the one above it.

    DVC names it in DVC_ROOT for every stage that it runs.
    """
    return Path(variables.DVC_ROOT.read()).resolve()


def resolve(root: Path) -> Store:
    """The store of a repository. Nothing is contacted; its folder is made.

    Args:
        root: As of `main_repository`.
    """
    folder = root / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    # A proxy of the environment cannot reach this machine's loopback interface.
    direct = ",".join(
        filter(None, (variables.NO_PROXY.read(), variables.NO_PROXY_LOWER.read(), "127.0.0.1,localhost"))
    )
    environment = LIMITS | {"NO_PROXY": direct, "no_proxy": direct}
    uri = address(root)
    by_server = uri.startswith(("http://", "https://"))
    try:
        # Where the user names another S3 server for an MLflow server's files, its credentials are theirs.
        s3 = None if by_server and variables.MLFLOW_S3_ENDPOINT_URL.read() else endpoints.resolve(root)
    except HeimdallError:
        s3 = None
    if s3 is not None:
        environment |= endpoints.as_environment(s3) | {S3_VARIABLE: s3.s3_endpoint_url}
    folder_of_files = f"s3://{BUCKET}" if s3 is not None else str(folder / "mlartifacts")
    return Store(uri, None if by_server else folder_of_files, folder, s3, environment)


def address(root: Path) -> str:
    """MLflow's tracking address, with its password; a file of SQLite is relative to the repository."""
    uri = variables.MLFLOW_TRACKING_URI.read()
    file = uri.removeprefix("sqlite:///")
    return f"sqlite:///{root / file}" if file != uri else uri


def without_secrets(text: str) -> str:
    """Remove user and password from every address in a text, also those that were not escaped."""
    return re.sub(r"([?&]password=)[^&\s]*", r"\1", re.sub(r"(://)\S*@", r"\1", text))


class MLflowTracker:
    """A writer of runs to one MLflow store. It raises what MLflow raises; its callers guard against that.

    The store's environment must be this process's. What is written twice stands there once: values carry
    the time of their run, and runs are found by their tags.

    Args:
        store: Where to write.
        experiment: Name of the experiment; it is created where it is missing.

    Raises:
        HeimdallError: The database does not answer.
    """

    def __init__(self, store: Store, experiment: str = EXPERIMENT) -> None:
        require_answer(store)
        import mlflow  # noqa: PLC0415 - it takes 3 s, and only recording needs it

        self.store = store
        self._client = mlflow.MlflowClient(store.uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            try:
                self._client.create_experiment(experiment, artifact_location=store.artifacts)
            except mlflow.MlflowException:  # another machine may have been faster
                if self._client.get_experiment_by_name(experiment) is None:
                    raise
            found = self._client.get_experiment_by_name(experiment)
        assert found is not None  # noqa: S101 - found, or made above
        self.experiment_id = str(found.experiment_id)

    def record(self, run: Run) -> str:
        """Write the run of a training, or what of it is missing.

        Args:
            run: What to record; the tag `RECORD` carries its `id`.

        Returns:
            MLflow's identifier of the run.
        """
        tag = {RECORD: run.id}
        found = self._find(tag)
        run_id = str(found[0].info.run_id) if found else self._create(run, tag)
        self._write(run_id, run, run.time_ms)
        return run_id

    def recorded(self, run_id: str) -> str | None:
        """MLflow's identifier of the training's run with this `id`; None where there is none."""
        found = self._find({RECORD: run_id})
        return str(found[0].info.run_id) if found else None

    def has_outputs(self, outputs_id: str) -> bool:
        """Whether all of these outputs are recorded."""
        return bool(self._find({OUTPUTS: outputs_id}))

    def complete(self, run: Run) -> str:
        """Add what a pipeline made to the run of its training, or to a new one where that is not there.

        Args:
            run: All that the pipeline made; its tag `LOCALIZER` tells the training. A named one is an
                experiment of DVC, which completes its own training only.

        Returns:
            MLflow's identifier of the run.
        """
        # The last thing written is the tag that says that all is there.
        tag = {LOCALIZER: run.tags[LOCALIZER]}
        open_runs = [
            found
            for found in self._find(tag)
            if OUTPUTS not in found.data.tags
            and (run.name is None or found.data.tags.get(EXPERIMENT_NAME) == run.name)
        ]
        run_id = str(open_runs[0].info.run_id) if open_runs else self._create(run, run.tags)
        self._write(run_id, run, int(self._client.get_run(run_id).info.start_time))
        self._client.set_tag(run_id, OUTPUTS, run.id)
        return run_id

    def _find(self, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, whose values are hexadecimal, the newest first."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self._client.search_runs([self.experiment_id], wanted))

    def _create(self, run: Run, tags: Mapping[str, str]) -> str:
        """Make a run; its tags stand there from the first moment, so that it is found after a kill."""
        created = self._client.create_run(
            self.experiment_id, start_time=run.time_ms, tags=dict(tags), run_name=run.name
        )
        return str(created.info.run_id)

    def _write(self, run_id: str, run: Run, time_ms: int) -> None:
        """Write all of a run; the files at last, because they may go to another server."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - as above

        texts = {name: value for name, value in run.metrics.items() if isinstance(value, str)}
        values = [
            Metric(name, float(value), time_ms, int(epoch["epoch"]))
            for epoch in run.epochs
            for name, value in epoch.items()
            if name != "epoch"
        ]
        values += [
            Metric(name, float(value), time_ms, 0) for name, value in run.metrics.items() if name not in texts
        ]
        params = [Param(name, str(value)) for name, value in revision.flat(run.params).items()]
        tags = [RunTag(name, value) for name, value in {**run.tags, **texts}.items()]
        for start in range(0, max(len(params), len(tags)), PARAMS_IN_BATCH):
            part = slice(start, start + PARAMS_IN_BATCH)
            self._client.log_batch(run_id, params=params[part], tags=tags[part])
        for start in range(0, len(values), METRICS_IN_BATCH):
            self._client.log_batch(run_id, metrics=values[start : start + METRICS_IN_BATCH])
        target = str(self._client.get_run(run_id).info.artifact_uri)
        if self.store.s3 is not None and target.startswith(f"s3://{BUCKET}/"):
            ObjectStore(self.store.s3, BUCKET).ensure_bucket()
        with tempfile.TemporaryDirectory(prefix="heimdall-mlflow-") as folder:
            for name, content in run.files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if run.onnx is not None:
                _save_model(run.onnx, Path(folder) / "model")
            self._client.log_artifacts(run_id, folder)
        self._client.set_terminated(run_id, end_time=time_ms)


def require_answer(store: Store) -> None:
    """Raise a `HeimdallError` unless a store's database server takes connections.

    MLflow itself would try for two minutes.
    """
    parts = urlsplit(store.uri)
    kind = parts.scheme.partition("+")[0]
    if kind not in DATABASE_PORTS or not parts.hostname:
        return
    place = (parts.hostname, parts.port or DATABASE_PORTS[kind])
    try:
        socket.create_connection(place, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        cause = f"it does not answer ({error.strerror or error})"
        raise HeimdallError(store.name, cause, "Start it, or correct MLFLOW_TRACKING_URI") from None


def _save_model(content: bytes, folder: Path) -> None:
    """Write an ONNX model as MLflow keeps models, with the names, types and shapes of inputs and outputs."""
    import mlflow.onnx  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415
    import onnx  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, Schema, TensorSpec  # noqa: PLC0415

    model = onnx.load_from_string(content)

    def schema(values: Any) -> Schema:  # noqa: ANN401 - protobuf's lists
        specs: list[ColSpec | TensorSpec] = []
        for value in values:
            tensor = value.type.tensor_type
            shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            specs.append(TensorSpec(dtype, shape, value.name))
        return Schema(specs)

    mlflow.onnx.save_model(
        model,
        str(folder),
        signature=ModelSignature(schema(model.graph.input), schema(model.graph.output)),
        pip_requirements=[f"onnxruntime=={version('onnxruntime')}"],
        save_as_external_data=False,
    )


def serve(root: Path, port: int, say: Callable[[str], object]) -> None:
    """Run MLflow's server on the store until Ctrl-C, on this machine's loopback interface alone.

    Args:
        root: The repository.
        port: Of 127.0.0.1.
        say: Called with the address when the server answers.

    Raises:
        HeimdallError: The port is taken, the store is a server itself or does not answer, or the server ends.
    """
    store = resolve(root)
    if store.is_server:
        raise HeimdallError(store.name, "this store is an MLflow server itself", "Open it in a browser")
    if process.listens(port):
        cause = "the port is taken by another program"
        raise HeimdallError(f"127.0.0.1:{port}", cause, f"Choose another: heimdall ui --port {port + 1}")
    require_answer(store)
    hosts = "127.0.0.1:*,localhost:*"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts, "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(store.artifacts)]
    environment = os.environ | store.environment
    # By the environment: the address may hold a password, and everybody can read a command line.
    jobs = variables.MLFLOW_SERVER_ENABLE_JOB_EXECUTION
    environment |= {variables.MLFLOW_BACKEND_STORE_URI.name: store.uri, jobs.name: jobs.default}
    log = store.folder / "mlflow-ui.log"
    embedded.write_secret(log, "")
    with _terminable(), log.open("a", encoding="utf-8") as stream:
        server = subprocess.Popen(
            command, cwd=store.folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            listening = process.wait_until(
                lambda: process.listens(port) or server.poll() is not None, UI_READY_TIMEOUT_S
            )
            if listening and server.poll() is None:
                say(f"http://127.0.0.1:{port} shows {store.name}; Ctrl-C ends it")
                server.wait()
            cause = f"it ended or never answered ({without_secrets(process.last_lines(log))})"
            raise HeimdallError("MLflow's server", cause, f"See {log}")
        finally:
            _end(server)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server with its workers, which are in a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(UI_STOP_TIMEOUT_S)
