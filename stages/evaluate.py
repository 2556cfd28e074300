"""Evaluate the model on val and test: metrics/eval.json and plots/.

Examples:
    python stages/evaluate.py
    python stages/evaluate.py --show
    python stages/evaluate.py --model_dir models --data_dir data/features --output_dir elsewhere
"""

from __future__ import annotations

from heimdall.core import determinism

if __name__ == "__main__":
    determinism.ensure()

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from heimdall.core import artifacts, params, stage
from heimdall.metrics.metrics import TARGETS
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig
from heimdall.pipeline.evaluate import evaluation, localizers, plots
from heimdall.pipeline.evaluate.cases import LOCALIZER, PREDICTORS

ROWS = (
    ("mean error, m", "mae_m", "{:.0f}", "< {:g}"),
    ("median error, m", "median_m", "{:.0f}", None),
    ("within 30 m", "accuracy_30m", "{:.1%}", "> {:.0%}"),
    ("within 100 m", "accuracy_100m", "{:.1%}", None),
    ("calibration error, m", "calibration_error_m", "{:.0f}", "< {:g}"),
    ("NLL, nats", "nll_nats", "{:.2f}", None),
    ("inside the 68 % region", "coverage_68", "{:.1%}", None),
    ("inside the 95 % region", "coverage_95", "{:.1%}", None),
)


def main() -> None:
    """Read the model and the features, write the metrics and the plots, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="stages/evaluate.py"
    )
    parser.add_argument("--model_dir", type=Path, default=Path("models"), help="folder of the model")
    parser.add_argument("--data_dir", type=Path, default=Path("data/features"), help="folder of the features")
    parser.add_argument("--output_dir", type=Path, default=Path(), help="where metrics/ and plots/ go")
    parser.add_argument("--show", action="store_true", help="print metrics/eval.json as a table, no more")
    arguments = parser.parse_args()
    metrics_file = arguments.output_dir / "metrics" / "eval.json"
    if arguments.show:
        print_table(artifacts.read_json(metrics_file))
        return

    settings = params.load()
    folder: Path = arguments.model_dir
    network, record = model_file.load(folder / "localizer.safetensors", folder / "localizer.json")
    data = DatasetConfig(arguments.data_dir)
    found = evaluation.evaluate(
        localizers.localizer(network, data),
        localizers.localizer(network, data, calibrated=False),
        data,
        record["validation_split"],
        settings.evaluate,
    )
    receivers = pd.read_parquet(arguments.data_dir / "receivers.parquet")

    tables = {
        "error_cdf.csv": plots.error_cdf(found.cases),
        "reliability.csv": plots.reliability(found.cases),
        "error_bound.csv": plots.error_bound(found.cases),
        "map.csv": plots.estimate_map(found.cases),
        "slices.csv": found.slices,
    }
    figure = plots.draw(found.cases, receivers, found.metrics["data"])
    for name, table in tables.items():
        artifacts.write_bytes(arguments.output_dir / "plots" / name, plots.csv_bytes(table))
    artifacts.write_bytes(arguments.output_dir / "plots" / "evaluation.png", figure)
    artifacts.write_json(metrics_file, found.metrics)
    print_table(found.metrics)


def print_table(metrics: dict[str, Any]) -> None:
    """The test figures beside the specification's targets and the bound."""
    test, bound = metrics["test"], metrics["cramer_rao"]
    print(f"Test split by {metrics['split_by']}, {metrics['data']} data: {test[LOCALIZER]['n']} sessions")
    names = "".join(f"{name.replace('_', ' '):>17}" for name in PREDICTORS)
    print(f"{'':<24}{'target':>8}{names}")
    for label, key, form, target in ROWS:
        wanted = target.format(TARGETS[key]) if target else ""
        reached = "".join(f"{form.format(test[name][key]):>17}" for name in PREDICTORS)
        print(f"{label:<24}{wanted:>8}{reached}")
    if bound["bounded"]:
        print(
            f"Cramer-Rao bound, without multipath: {bound['median_m']:.0f} m in the median of the "
            f"{bound['bounded']} sessions that have one; at most 30 m in {bound['share_30m']:.1%} of all"
        )
    timeless = metrics["test_without_gps"]
    told = ", ".join(f"{name.replace('_', ' ')} {timeless[name]['mae_m']:.0f} m" for name in timeless)
    print(f"Mean error without GPS time: {told}")


if __name__ == "__main__":
    stage.run(main)
