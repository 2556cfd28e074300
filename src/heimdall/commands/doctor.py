"""`heimdall doctor`: what this machine lacks."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options
from heimdall.doctor.report import MISSING, OK, WARNING, Check


@click.command(epilog="Example: heimdall doctor --json")
@options.as_json
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what this machine lacks: Python, disk, memory, programs, rights, ports, packages, services.

    If HEIMDALL_RAY_ADDRESS is set, Ray and the cluster are checked, too.

    Each line says ok, warning or missing. A remedy stands below each line that says warning or missing. The
    exit code is 1 only if something is missing without which the demo cannot run. `make` runs these checks
    before it installs anything.
    """
    from heimdall.core import artifacts
    from heimdall.doctor import checks, installed, report

    root = Path()
    found = [*checks.before_installation(root), installed.packages(root), *_servers(root), *_cluster(root)]
    if as_json:
        click.echo(artifacts.json_text(report.as_json(found)), nl=False)
    else:
        for line in report.lines(found):
            click.echo(line)
    if not report.passes(found):
        context.exit(1)


def _servers(root: Path) -> list[Check]:
    """Whether both services answer with the credentials in use."""
    from heimdall.core.errors import HeimdallError
    from heimdall.services import lifecycle
    from heimdall.storage import embedded, endpoints

    configured = endpoints.database_configured() or endpoints.s3_configured()
    try:
        if not configured and embedded.load(root) is None:
            return [Check("servers", OK, "not started yet; `heimdall services up` starts them")]
        found = lifecycle.status(root)
    except HeimdallError as error:
        return [Check("servers", WARNING, f"{error.subject}: {error.cause}", error.remedy)]
    checks = []
    for one in found:
        address = f"{one.address} ({one.detail})"
        if one.ready:
            checks.append(Check(f"{one.service} server", OK, f"ready at {address}"))
        else:
            remedy = "Run `heimdall services up`"
            checks.append(Check(f"{one.service} server", WARNING, address, remedy))
    return checks


def _cluster(root: Path) -> list[Check]:
    """Whether Ray is the locked one and its cluster takes this machine; nothing where none is named."""
    from heimdall.core import variables
    from heimdall.core.errors import HeimdallError
    from heimdall.doctor import installed

    if not variables.RAY_ADDRESS.read():
        return []
    package = installed.ray(root)
    if package.state != OK:
        return [package]
    from heimdall.core import ray_cluster

    try:
        ray_cluster.reached()
    except HeimdallError as error:
        return [package, Check("cluster", MISSING, f"{error.subject}: {error.cause}", error.remedy)]
    return [
        package,
        Check("cluster", OK, f"Ray cluster {variables.RAY_ADDRESS.read()} answers and takes the token"),
    ]
