"""Milliseconds an answer: the exported ONNX model against PyTorch, one thread each.

An answer is a session's with the fusion model, whose inputs are those of the test split, and a recording's
with the single one. Each measurement runs in a process of its own, because the two libraries' threads fight
in one; rounds alternate. Needs the outputs of `dvc repro` (or `dvc pull`).

    python benchmarks/onnx.py --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MODELS = Path("models")
BATCHES = (1, 32)
REPETITIONS = 20
KINDS = ("pytorch", "onnx", "onnx int8")


def inputs(batch: int) -> dict[str, np.ndarray]:
    """What the model in `MODELS` takes, `batch` rows of it."""
    from heimdall.inference.onnx_model import OnnxLocalizer, session_inputs  # noqa: PLC0415
    from heimdall.inference.preprocessing import Preprocessing  # noqa: PLC0415
    from heimdall.network.dataset import DatasetConfig, observations  # noqa: PLC0415 - the parent needs none of it

    file = MODELS / "localizer.onnx"
    localizer = OnnxLocalizer.open(file)
    if localizer.kind == "single":
        random = np.random.Generator(np.random.PCG64(1))
        return {"features": random.normal(-60, 20, (batch, 3, 128, 32)).astype(np.float32)}
    sessions = observations(DatasetConfig(), "test", localizer.metadata["validation_split"]).observations
    tokenizer = Preprocessing.of(localizer.metadata, str(file)).tokenizer
    return session_inputs([tokenizer.tokens(sessions[number % len(sessions)]) for number in range(batch)])


def answer(kind: str, given: dict[str, np.ndarray]) -> Callable[[], object]:
    """What one kind of model does with inputs."""
    if kind == "pytorch":
        import torch  # noqa: PLC0415

        from heimdall.network import model_file  # noqa: PLC0415

        torch.set_num_threads(1)
        network, _ = model_file.load(MODELS / "localizer.safetensors", MODELS / "localizer.json")
        network.eval()
        tensors = [torch.from_numpy(value) for value in given.values()]

        def ask() -> object:
            with torch.inference_mode():
                return network(*tensors)

        return ask
    from heimdall.inference.onnx_model import OnnxLocalizer  # noqa: PLC0415

    localizer = OnnxLocalizer.open(MODELS / f"localizer{'.int8' if 'int8' in kind else ''}.onnx")
    return lambda: localizer.answer([given])


def measure_ms(kind: str, batch: int) -> float:
    """Median milliseconds an answer, after one call that is not counted."""
    ask = answer(kind, inputs(batch))
    ask()
    took = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - begin) / batch)
    return statistics.median(took)


def main() -> None:
    """Measure every kind in turn and print the medians and their ratio to PyTorch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "BATCH"), help=argparse.SUPPRESS)
    typed = parser.parse_args()
    if typed.one:
        print(measure_ms(typed.one[0], int(typed.one[1])))
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for batch in BATCHES:
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(typed.rounds):
            for kind in KINDS:
                command = [sys.executable, __file__, "--one", kind, str(batch)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found[kind].append(float(done.stdout))
        reference = found["pytorch"]
        for kind in KINDS:
            ratio = statistics.median(a / b for a, b in zip(reference, found[kind], strict=True))
            print(
                f"batch {batch:<3} {kind:<10} {statistics.median(found[kind]):7.2f} ms, {ratio:.2f}x PyTorch"
            )


if __name__ == "__main__":
    main()
