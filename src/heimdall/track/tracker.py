"""The writer of runs to MLflow: what is written twice stands there once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from heimdall.core import paths
from heimdall.reproduce import dvc_lock
from heimdall.storage.objectstore import ObjectStore
from heimdall.track import mlflow_store, view
from heimdall.track.mlflow_store import Store, require_answer
from heimdall.track.run import EXPERIMENT_NAME, LOCALIZER, OUTPUTS, RECORD, SOURCE_NAME, STAGE, Run

METRICS_IN_BATCH, PARAMS_IN_BATCH = 1000, 100  # MLflow's limits


class MLflowTracker:
    """A writer of runs to one MLflow store. It raises what MLflow raises; its callers guard against that.

    What is written twice stands there once: values carry the time of their run, and runs are found by their
    tags. Pipelines record by themselves (`heimdall.track.tracking`, in a process of its own); in Python
    `MLflowTracker().record(run)` writes a `heimdall.track.run.Run`.

    Args:
        store: Where to write, its environment being this process's. None for what MLFLOW_TRACKING_URI names
            (`mlflow.set_tracking_uri` sets it), else the clone's; then this process gets its environment,
            and MLflow's own functions write there, too.
        experiment: Name of the experiment; it is created where it is missing.

    Raises:
        HeimdallError: The database does not answer.
    """

    def __init__(self, store: Store | None = None, experiment: str = view.EXPERIMENT) -> None:
        own = store is None
        if store is None:
            store = mlflow_store.resolve(paths.CLONE)
            # What MLflow needs; not where our own services are, which later commands find by themselves.
            os.environ.update({k: v for k, v in store.environment.items() if not k.startswith("HEIMDALL_")})
        require_answer(store)
        import mlflow  # noqa: PLC0415 - it takes 3 s, and only recording needs it

        if own:
            mlflow.set_tracking_uri(store.uri)
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
        for name, value in view.missing(found.tags).items():
            self._client.set_experiment_tag(self.experiment_id, name, value)

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
        self._client.set_terminated(run_id, end_time=run.time_ms)
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
            run: All that the pipeline made; its tag `LOCALIZER` tells the training. An experiment of DVC
                completes its own training only.

        Returns:
            MLflow's identifier of the run.
        """
        # The last thing written is the tag that says that all is there.
        tag = {LOCALIZER: run.tags[LOCALIZER]}
        experiment = run.tags.get(EXPERIMENT_NAME)
        open_runs = [
            found
            for found in self._find(tag)
            if OUTPUTS not in found.data.tags and experiment in (None, found.data.tags.get(EXPERIMENT_NAME))
        ]
        run_id = str(open_runs[0].info.run_id) if open_runs else self._create(run, run.tags)
        found = self._client.get_run(run_id)
        if RECORD in found.data.tags:  # it was told of its epochs, with their times, when it was trained
            kept = {name: found.data.tags[name] for name in (STAGE, SOURCE_NAME) if name in found.data.tags}
            run = replace(run, epochs=[], tags={**run.tags, **kept})
        self._write(run_id, run, int(found.info.end_time or found.info.start_time))
        # Without an end where the training's is not known: MLflow would show a duration of 0 ms.
        self._client.update_run(run_id, status="FINISHED", name=run.title)
        self._client.set_tag(run_id, OUTPUTS, run.id)
        return run_id

    def _find(self, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, whose values are hexadecimal, the newest first."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self._client.search_runs([self.experiment_id], wanted))

    def _create(self, run: Run, tags: Mapping[str, str]) -> str:
        """Make a run; its tags stand there from the first moment, so that it is found after a kill."""
        created = self._client.create_run(
            self.experiment_id, start_time=run.started_ms or run.time_ms, tags=dict(tags), run_name=run.title
        )
        return str(created.info.run_id)

    def _write(self, run_id: str, run: Run, time_ms: int) -> None:
        """Write all of a run; the files at last, because they may go to another server."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - as above

        texts = {name: value for name, value in run.metrics.items() if isinstance(value, str)}
        values = [
            Metric(name, float(value), int(epoch.get("time_ms", time_ms)), int(epoch["epoch"]))
            for epoch in run.epochs
            for name, value in epoch.items()
            if name not in ("epoch", "time_ms")
        ]
        values += [
            Metric(name, float(value), time_ms, 0) for name, value in run.metrics.items() if name not in texts
        ]
        params = [Param(name, str(value)) for name, value in dvc_lock.flat(run.params).items()]
        tags = [RunTag(name, value) for name, value in {**run.tags, **texts}.items()]
        for start in range(0, max(len(params), len(tags)), PARAMS_IN_BATCH):
            part = slice(start, start + PARAMS_IN_BATCH)
            self._client.log_batch(run_id, params=params[part], tags=tags[part])
        for start in range(0, len(values), METRICS_IN_BATCH):
            self._client.log_batch(run_id, metrics=values[start : start + METRICS_IN_BATCH])
        target = str(self._client.get_run(run_id).info.artifact_uri)
        if self.store.s3 is not None and target.startswith(f"s3://{mlflow_store.BUCKET}/"):
            ObjectStore(self.store.s3, mlflow_store.BUCKET).ensure_bucket()
        with tempfile.TemporaryDirectory(prefix="heimdall-mlflow-") as folder:
            for name, content in run.files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if run.onnx is not None:
                _save_model(run.onnx, Path(folder) / "model")
            self._client.log_artifacts(run_id, folder)


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
