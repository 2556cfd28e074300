"""Evaluate the model on the validation and test splits: metrics/ and plots/.

metrics/eval.json has the headline figures of the test split.
metrics/eval_val.json has the headline figures of the validation split.
metrics/eval_full.json has all figures of both splits and of the other methods,
with 95 % intervals and the Cramer-Rao bound. No figure is rounded.
data/baselines.json has what the training split told the other methods.

Examples:
    python stages/evaluate.py
    python stages/evaluate.py --show
    python stages/evaluate.py --data_dir data/features --output_dir elsewhere
"""

from __future__ import annotations

import argparse
from pathlib import Path

from heimdall.core import artifacts, params, paths, stage
from heimdall.core.child import Service


def typed() -> argparse.Namespace:
    """What the user typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="stages/evaluate.py"
    )
    parser.add_argument(
        "--model_dir", type=stage.typed_path, default=paths.WEIGHTS.parent, help="Folder of the model."
    )
    parser.add_argument(
        "--data_dir", type=stage.typed_path, default=paths.FEATURES, help="Folder of the features."
    )
    parser.add_argument(
        "--output_dir",
        type=stage.typed_path,
        default=Path(),
        help="Folder in which metrics/, plots/ and data/baselines.json are written.",
    )
    parser.add_argument("--show", action="store_true", help="Only print metrics/eval_full.json as a table.")
    return parser.parse_args()


def main() -> None:
    """Read the model and the features, write the metrics and the plots, print the table."""
    arguments = typed()
    metrics_dir = arguments.output_dir / "metrics"
    if arguments.show:
        shown = artifacts.read_json(metrics_dir / "eval_full.json")
        from heimdall.pipeline.evaluate import table

        print(*table.lines(shown), sep="\n")
        return

    settings = params.load()
    weights = arguments.model_dir / paths.WEIGHTS.name
    artifacts.require(weights, arguments.data_dir / paths.NETWORK)
    import pandas as pd

    from heimdall.network.dataset import DatasetConfig
    from heimdall.pipeline.evaluate import evaluation, figures, localizers, plots, table

    data = DatasetConfig(arguments.data_dir)
    localize = localizers.StoredLocalizer.of(weights, data)
    found = evaluation.evaluate(localize, data, localize.validation_split, settings.evaluate)
    receivers = pd.read_parquet(data.receivers_file)

    tables = {
        "error_cdf.csv": plots.error_cdf(found.cases),
        "reliability.csv": plots.reliability(found.cases),
        "error_bound.csv": plots.error_bound(found.cases),
        "map.csv": plots.estimate_map(found.cases),
        "slices.csv": found.slices,
    }
    figure = plots.draw(found.cases, receivers, found.metrics["data"])
    for name, content in tables.items():
        artifacts.write_bytes(arguments.output_dir / "plots" / name, plots.csv_bytes(content))
    artifacts.write_bytes(arguments.output_dir / "plots" / "evaluation.png", figure)
    artifacts.write_json(arguments.output_dir / paths.BASELINES, found.tuned)
    artifacts.write_json(metrics_dir / "eval_full.json", found.metrics)
    artifacts.write_json(metrics_dir / "eval_val.json", figures.headline(found.metrics, "val"))
    artifacts.write_json(metrics_dir / "eval.json", figures.headline(found.metrics, "test"))
    print(*table.lines(found.metrics), sep="\n")


if __name__ == "__main__":
    stage.run(main, Service.CLUSTER)
