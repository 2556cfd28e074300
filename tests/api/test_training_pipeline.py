"""TrainingPipeline as the specification calls it, on tiny features."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime
import pytest
import torch

import heimdall
from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.train import training
from heimdall.pipeline.train.training import Training
from tests import tiny_features
from tests.single_training import digests, settings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEYS = ["checkpoint_path", "onnx_path", "mlflow_run_id", "final_metrics", "checkpoint_dir"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    tiny_features.write(folder, count=10)
    return folder


@pytest.fixture(autouse=True)
def _untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")


def pipeline(**changes: object) -> heimdall.TrainingPipeline:
    given = {"epochs": 2, "batch_size": 8, "parameters": settings(warmup_epochs=1)} | changes
    return heimdall.TrainingPipeline(**given)  # type: ignore[arg-type]


def test_run_gives_the_specification_s_mapping_and_the_stage_s_bytes(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = pipeline(accelerator="gpu").run(str(data_dir), export_only=False, output_dir=tmp_path / "out")
    assert list(result) == KEYS
    assert result["final_metrics"]["epochs"] == 2
    assert result["mlflow_run_id"] is None  # tracking is off
    names = [value.name for value in onnxruntime.InferenceSession(result["onnx_path"]).get_outputs()]
    assert names == ["positions", "uncertainties"]
    assert not torch.cuda.is_available()
    said = capfd.readouterr().err
    assert said.count("accelerator='gpu': torch sees no CUDA device here; training runs on the CPU") == 1

    same = Training(settings(epochs=2, warmup_epochs=1), data_dir, tmp_path / "work")
    same.run(tmp_path / "stage")
    assert digests(tmp_path / "out") == digests(tmp_path / "stage")


def test_export_only_writes_the_network_of_a_checkpoint(data_dir: Path, tmp_path: Path) -> None:
    trained = pipeline(epochs=1).run(data_dir, output_dir=tmp_path / "out")
    assert trained["checkpoint_dir"] is not None
    exported = pipeline().run(
        data_dir,
        export_only=True,
        checkpoint=trained["checkpoint_dir"] / "last.ckpt",
        output_dir=tmp_path / "onnx",
    )
    assert list(exported) == KEYS
    assert exported["onnx_path"].read_bytes() == trained["onnx_path"].read_bytes()
    assert exported["final_metrics"] == {}


def test_resumed_training_goes_on(data_dir: Path, tmp_path: Path) -> None:
    first = pipeline(epochs=1).run(data_dir, output_dir=tmp_path / "first")
    assert first["checkpoint_dir"] is not None
    more = pipeline(epochs=2).run(
        data_dir,
        checkpoint=first["checkpoint_dir"] / "last.ckpt",
        resume_training=True,
        output_dir=tmp_path / "more",
    )
    assert more["final_metrics"]["epochs"] == 2
    with pytest.raises(ValueError, match="resume_training needs a checkpoint"):
        pipeline().run(data_dir, resume_training=True)
    with pytest.raises(ValueError, match="a checkpoint goes with resume_training or export_only"):
        pipeline().run(data_dir, checkpoint=first["checkpoint_path"])


def test_from_another_folder_it_is_the_same_training(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook elsewhere: paths are from where one is, all else is found from the clone."""
    monkeypatch.chdir(tmp_path)
    given = os.path.relpath(data_dir)
    result = pipeline(epochs=1).run(given, output_dir="out")
    assert result["onnx_path"] == tmp_path / "out/models/localizer.onnx"
    assert result["onnx_path"].is_file()
    assert Path.cwd() == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_cannot_be_is_refused_before_any_work(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"TrainingPipeline: lr: Input should be greater than 0"):
        pipeline(learning_rate=0.0).run(data_dir, output_dir=tmp_path)
    with pytest.raises(HeimdallError, match="devices=2"):
        pipeline(devices=2).run(data_dir, output_dir=tmp_path)
    with pytest.raises(HeimdallError, match=r"accelerator=gpu: torch sees no CUDA.*--accelerator auto"):
        pipeline(accelerator="cuda").run(data_dir, output_dir=tmp_path)
    with pytest.raises(HeimdallError, match=r"none\.ckpt: the file is missing"):
        pipeline().run(data_dir, export_only=True, checkpoint=tmp_path / "none.ckpt")
    assert not list(tmp_path.iterdir())


def test_what_the_constructor_does_not_name_is_in_params_yaml() -> None:
    chosen = heimdall.TrainingPipeline()._chosen()
    committed = params.load()
    assert (chosen.epochs, chosen.lr, chosen.batch_size) == (100, 1e-3, 32)
    assert (chosen.backbone, chosen.model, chosen.seed) == (
        committed.backbone,
        committed.model,
        committed.seed,
    )


def test_lightning_trains_a_network_by_itself(data_dir: Path, tmp_path: Path) -> None:
    """The module with a plain Trainer and plain loaders, as the specification's users write them."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import EarlyStopping
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    config = heimdall.Settings(data_dir=data_dir)
    loaders = [
        DataLoader(heimdall.HeimdallDataset(config, split), batch_size=4) for split in ("train", "val")
    ]
    torch.manual_seed(0)
    network = heimdall.LocalizationNet(
        pretrained=False, backbone_size="atto", feature_mean=[-70.0] * 3, feature_std=[10.0] * 3
    )
    with pytest.warns(UserWarning, match=r"look like degrees.*LocalFrame\(45.0, 8.0\)"):
        heimdall.LocalizationLightningModule(network).training_step(next(iter(loaders[0])), 0)
    network = heimdall.LocalizationNet(
        pretrained=False,
        backbone_size="atto",
        frame=heimdall.LocalFrame(45.0, 8.0),
        scale_m=30_000.0,
        uncertainty_min=10.0,
        uncertainty_max=200_000.0,
        feature_mean=[-70.0] * 3,
        feature_std=[10.0] * 3,
    )
    module = heimdall.LocalizationLightningModule(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, logger=CSVLogger(tmp_path))
    trainer.fit(module, *loaders)
    names = {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]
    assert {"EarlyStopping", "MovableCheckpoints", "LearningRateMonitor", "GradientNormMonitor"} <= names
    best = Path(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    with pytest.raises(HeimdallError, match="not a checkpoint of the pipeline's training"):
        training.load_network(best)
    rates = [row.learning_rate for row in module.history]
    assert rates == [module.settings.lr * factor for factor in (0.2, 0.4)]  # of the warm-up's five epochs
    (alone,) = trainer.validate(module, loaders[1], verbose=False)
    assert alone["val_loss"] == pytest.approx(module.history[-1].val_loss, rel=1e-6)
    assert len(module.history) == 2
    assert any(not torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert set(module.configure_optimizers()) == {"optimizer", "lr_scheduler"}
    own = EarlyStopping("train_loss", patience=99)
    chosen = Trainer(
        max_epochs=1, callbacks=[own], enable_checkpointing=False, default_root_dir=tmp_path / "b"
    )
    chosen.fit(heimdall.LocalizationLightningModule(network), *loaders)
    assert chosen.early_stopping_callbacks == [own]
    assert not chosen.checkpoint_callbacks
