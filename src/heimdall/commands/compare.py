"""`heimdall compare`: two models on the same test sessions."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output, place
from heimdall.core import artifacts, params, paths


@click.command(
    epilog="""\b
Example: heimdall compare v0.1.0 HEAD
Example: heimdall compare main models/localizer.onnx --html compare.html
"""
)
@click.argument("a", type=place.ModelName(), metavar="A")
@click.argument("b", type=place.ModelName(), metavar="B")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=paths.FEATURES,
    show_default=True,
    help="Folder of the features, whose test split both models locate.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Write the report to this file instead of standard output.",
)
@options.as_json
@options.json_file
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Draw the answers to this file (PNG).",
)
@options.written("html", "a page that works offline")
def compare(
    *,
    a: str,
    b: str,
    data_dir: Path,
    markdown: Path | None,
    as_json: bool,
    json_file: Path | None,
    plot: Path | None,
    html_file: Path | None,
) -> None:
    """Compare two models on the same test sessions: figures, paired differences and latency.

    A and B are paths of .onnx files or git revisions (tag, branch or commit). The models/localizer.onnx of a
    revision is taken from DVC's cache or remote. The sessions are the test split of the working tree. The
    report says how many of them a model knew from its training. A difference is the value of B minus the
    value of A. Its interval comes from resampling whole transmitters. The last lines say how many sessions
    would tell the two models apart.
    """
    settings = params.load()
    options.require_models(a, b)
    options.require_features(data_dir)
    from heimdall.compare import contest, scorecard
    from heimdall.network.dataset import DatasetConfig

    config = DatasetConfig(data_dir)
    first, second = (contest.load(Path(), name) for name in (a, b))
    held = contest.hold(Path(), first, second, config, settings)
    if json_file is not None:
        artifacts.write_json(json_file, scorecard.as_dict(held))
    if plot is not None or html_file is not None:
        import pandas as pd

        from heimdall.compare import figure, page

        receivers = pd.read_parquet(config.receivers_file)
        if plot is not None:
            artifacts.write_bytes(plot, figure.draw(held, receivers))
        if html_file is not None:
            artifacts.write_bytes(html_file, page.text(held, receivers).encode("utf-8"))
    text = scorecard.markdown(held)
    if markdown is not None:
        artifacts.write_bytes(markdown, text.encode("utf-8"))
    if as_json:
        output.as_json(scorecard.as_dict(held))
    elif markdown is None:
        click.echo(text, nl=False)
