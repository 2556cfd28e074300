"""Export the model to ONNX in float32 and int8, with a model card.

Nothing is written unless the float32 file agrees with PyTorch in as many test
cases as the section `export` of params.yaml asks for.


Example:
    python stages/export.py --model_dir models --data_dir data/features
"""

from __future__ import annotations

import argparse
from pathlib import Path

from heimdall.core import artifacts, params, paths, stage


def main() -> None:
    """Read the model, the features and the evaluation, write the ONNX files, the card and the metrics."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="stages/export.py"
    )
    parser.add_argument(
        "--model_dir", type=stage.typed_path, default=paths.WEIGHTS.parent, help="Folder of the model."
    )
    parser.add_argument(
        "--data_dir", type=stage.typed_path, default=paths.FEATURES, help="Folder of the features."
    )
    parser.add_argument(
        "--metrics_dir", type=stage.typed_path, default=Path("metrics"), help="Folder of eval_full.json."
    )
    arguments = parser.parse_args()

    settings = params.load()
    folder: Path = arguments.model_dir
    weights = folder / paths.WEIGHTS.name
    artifacts.require(weights, arguments.data_dir / paths.NETWORK)
    measured = artifacts.read_json(arguments.metrics_dir / "eval_full.json")
    import numpy as np

    from heimdall.network import model_file
    from heimdall.network.dataset import DatasetConfig
    from heimdall.pipeline.export import card, export, graphs, reference
    from heimdall.pipeline.export.onnx_file import FLOAT32_FILE, INT8_FILE

    network, record = model_file.load(weights, weights.with_suffix(".json"))
    config = DatasetConfig(arguments.data_dir)
    graph = graphs.of_network(network, record, config)
    held_out = reference.held_out(network, graph, config, record["validation_split"])

    exported = export.export(graph, record, held_out, settings.export)
    figures = export.figures(exported, measured["data"], settings.export)
    text = card.card(record, measured, figures)
    artifacts.write_bytes(folder / FLOAT32_FILE, exported.float32)
    artifacts.write_bytes(folder / INT8_FILE, exported.int8)
    artifacts.write_bytes(folder / card.CARD_FILE, text.encode("utf-8"))
    artifacts.write_json(arguments.metrics_dir / "export.json", figures)

    parity, size_mb = exported.parity, figures["float32"]["size_mb"]
    print(
        f"{folder / FLOAT32_FILE}: {size_mb} MB; {parity.share:.2%} of {parity.n} test cases "
        f"agree with PyTorch, largest distance {parity.max_distance_m:.3g} m, "
        f"largest change of sigma {parity.max_sigma_share:.2g}"
    )
    shift_m, change_m = float(np.median(exported.int8_shift_m)), exported.int8_mae_change_m
    print(
        f"{folder / INT8_FILE}: {figures['int8']['size_mb']} MB; positions move by {shift_m:.2g} m "
        f"in the median, the mean error changes by {change_m:+.2g} m ({measured['data']} data)"
    )
    if not figures["float32"]["below_100_mb"]:
        print(
            f"{size_mb} MB is above the specification's {export.SIZE_TARGET_MB:g} MB: use a smaller backbone"
        )


if __name__ == "__main__":
    stage.run(main)
