"""`heimdall monitor`: newly approved sessions against a model's claims, for cron."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from heimdall.commands import options, output, place
from heimdall.core import artifacts, params, paths

ALARM, TOO_FEW = 3, 4  # 1 is a failure and 2 wrong usage, as of every command
DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z")


@click.command(
    epilog="""\b
Example: heimdall monitor --since 2026-11-01
Example: heimdall monitor --since 2026-11-01 --json > monitor.json
Example: heimdall monitor --since 2026-11-01 --html monitor.html
"""
)
@click.option(
    "--since",
    required=True,
    type=click.DateTime(DATES),
    metavar="TIME",
    help="Compare sessions that were approved after this time, such as 2026-11-01 or "
    "2026-11-01T06:00:00+0100. Without an offset the time is UTC.",
)
@click.option(
    "--until",
    type=click.DateTime(DATES),
    metavar="TIME",
    help="Compare sessions that were approved until this time.  [default: one minute ago]",
)
@click.option(
    "--model",
    type=place.ModelName(),
    default=paths.ONNX,
    show_default=True,
    help="An .onnx file or a git revision.",
)
@options.as_json
@options.json_file
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Draw the comparison to this file (PNG).",
)
@options.written("html", "a page that works offline")
@click.pass_context
def monitor(
    context: click.Context,
    *,
    since: datetime,
    until: datetime | None,
    model: str,
    as_json: bool,
    json_file: Path | None,
    plot: Path | None,
    html_file: Path | None,
) -> None:
    """Compare newly approved measurements with what the model claims: error, coverage, features, latency.

    The claims are the model's figures on its own test split, which this command computes from
    data/features/.

    There is an alarm if the mean error is more than 10 % above the claim and its interval excludes no
    change; if fewer true positions than claimed lie in the model's regions, beyond chance; if a feature is
    far from the training data; or if the 95th percentile of the latency is above 1000 ms. Each alarm is a
    line on standard error.

    The exit code is 0 if nothing is wrong, 1 if the command failed, 2 if it was used wrongly, 3 if there is
    an alarm, and 4 if there are too few new sessions for a verdict.
    """
    root, settings = Path(), params.load()
    options.require_models(model)
    from heimdall.storage import approved, endpoints
    from heimdall.storage.identities import Identity

    services = endpoints.resolve(root, identity=Identity.SNAPSHOT)
    from heimdall.compare import contest
    from heimdall.monitor import alerts, figure, page
    from heimdall.monitor import monitor as monitoring

    chosen = contest.load(root, model)
    found = monitoring.watch(
        root,
        services,
        chosen,
        settings,
        since=_utc(since),
        until=_utc(until) if until else approved.latest(services.database),
    )
    count, transmitters = (len(found.new.clusters), len(set(found.new.clusters))) if found.new else (0, 0)
    alarms = alerts.alarms(found.figures) if found.figures else []
    content = {
        "model_sha256": chosen.sha256,
        "data": found.data,
        "sessions": count,
        "figures": asdict(found.figures) if found.figures else None,
        "transmitters": transmitters,
        "known_sessions": found.known,
        "alarms": alarms,
    }
    if json_file is not None:
        artifacts.write_json(json_file, content)
    if plot is not None and found.new is not None:
        artifacts.write_bytes(plot, figure.draw(found))
    if html_file is not None:
        artifacts.write_bytes(html_file, page.text(found).encode("utf-8"))
    if as_json:
        output.as_json(content)
    else:
        data = f" ({found.data} data)" if found.data else ""
        click.echo(
            f"{count} new sessions of {transmitters} transmitters{data}; "
            f"{found.known} sessions that the model already knew are left out"
        )
        output.lines(alerts.lines(found.figures) if found.figures else [alerts.TOO_FEW])
    output.lines((f"ALARM {line}" for line in alarms), err=True)
    if found.figures is None:
        context.exit(TOO_FEW)
    if alarms:
        context.exit(ALARM)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
