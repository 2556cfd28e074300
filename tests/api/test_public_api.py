"""`import heimdall` is the specification's API: its names, its arguments, its defaults; and it is quick."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import heimdall
from tests import REPOSITORY
from tests.conftest import Services
from tests.start_up import LIBRARIES

SIGNATURES: dict[str, dict[str, Any]] = {
    "iq_to_mel_spectrogram": {
        "iq_data": inspect.Parameter.empty,
        "sample_rate": 192000.0,
        "n_mels": 128,
        "n_fft": 2048,
        "hop_length": 512,
        "f_min": 0.0,
        "f_max": None,
    },
    "compute_mfcc": {"mel_spectrogram": inspect.Parameter.empty, "n_mfcc": 13},
    "normalize_features": {"features": inspect.Parameter.empty, "mean": None, "std": None},
    "augment_features": {
        "features": inspect.Parameter.empty,
        "dropout_rate": 0.1,
        "shift_max": 5,
        "scale_min": 0.95,
        "scale_max": 1.05,
    },
    "HeimdallDataset": {
        "config": inspect.Parameter.empty,
        "split": "train",
        "transform": None,
        "validation_split": 0.2,
    },
    "LocalizationNet": {
        "pretrained": True,
        "freeze_backbone": False,
        "uncertainty_min": 0.01,
        "uncertainty_max": 1.0,
        "backbone_size": "large",
    },
    "TrainingPipeline": {
        "epochs": 100,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "validation_split": 0.2,
        "accelerator": "gpu",
        "devices": 1,
    },
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_and_defaults_are_the_specifications(name: str) -> None:
    given = inspect.signature(getattr(heimdall, name)).parameters
    positional = {
        name: parameter.default
        for name, parameter in given.items()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    }
    assert positional == SIGNATURES[name]
    assert list(positional) == list(SIGNATURES[name])


def test_every_name_is_the_room_s_own() -> None:
    tree = ast.parse((REPOSITORY / "src/heimdall/__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: f"heimdall.{room}" for name, room in heimdall._ROOMS.items()}
    assert sorted(typed) == heimdall.__all__ == dir(heimdall)
    for name in heimdall.__all__:
        assert getattr(heimdall, name).__module__ == typed[name]
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = heimdall.Nothing


def test_import_is_quick_and_waits_for_no_library() -> None:
    script = (
        "import sys, time\nstarted = time.perf_counter()\nimport heimdall\n"
        "print(time.perf_counter() - started, *{name.split('.')[0] for name in sys.modules})"
    )
    times_s = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        took_s, *modules = done.stdout.split()
        assert not LIBRARIES & set(modules)
        times_s.append(float(took_s))
    assert min(times_s) < 0.1


def test_train_is_a_module_with_the_root_or_the_stages_on_the_path(tmp_path: Path) -> None:
    """One after the other in one process, which loads the libraries once."""
    script = """
import sys
for folder in sys.argv[1:]:
    before = set(sys.modules)
    sys.path.insert(0, folder)
    import train
    from train import TrainingPipeline
    print(train.__file__, TrainingPipeline.__module__)
    sys.path.remove(folder)
    for name in {name for name in set(sys.modules) - before if name.split(".")[0] in ("train", "stages")}:
        del sys.modules[name]
"""
    folders = [REPOSITORY, REPOSITORY / "stages"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, folders)],
        cwd=tmp_path,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        f"{folder}/train.py heimdall.api.training_pipeline" for folder in folders
    ], done.stderr


def test_train_can_be_typed_in_any_folder(tmp_path: Path) -> None:
    """In a folder that is no repository the script's own clone is meant, and paths are from where one is."""
    for script in ("train.py", "stages/train.py"):
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / script), "--export_only", "--checkpoint", "none.ckpt"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        said = (
            f"train.py: {tmp_path}/none.ckpt: the file is missing. Name a checkpoint that a training kept\n"
        )
        assert done.stderr.endswith(said)


def test_a_script_passes_both_services_on_to_another_program(shared_services: Services) -> None:
    from heimdall import endpoints, iq

    found = endpoints.as_environment(endpoints.resolve(shared_services.root))

    assert urlsplit(found["HEIMDALL_DATABASE_URL"]).username == "heimdall"  # not a role that only reads
    assert {"HEIMDALL_S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= found.keys()
    assert callable(iq.decode)
