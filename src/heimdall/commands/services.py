"""`heimdall services`: PostgreSQL and S3 on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from heimdall.commands import options
from heimdall.core.errors import HeimdallError


@click.group()
def services() -> None:
    """Start, stop and look at PostgreSQL and S3.

    Where HEIMDALL_DATABASE_URL or HEIMDALL_S3_ENDPOINT_URL (with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    and AWS_DEFAULT_REGION) are set, that service is used as it is and nothing is started for it.

    Example: heimdall services up
    """


@services.command()
def up() -> None:
    """Start the servers; make tables, buckets and the settings of DVC's remote.

    The servers' ports are 18730 to 18739 and 28739 or, where another clone or program has one of them, the
    next that are free; the clone remembers them. HEIMDALL_PORT_BASE asks for others: ten from that number on,
    and one 10009 above it.

    Example: heimdall services up
    """
    from heimdall.services import lifecycle

    lifecycle.up(Path(), click.echo)


@services.command()
@click.option("--delete", is_flag=True, help="Delete the embedded servers' data, too.")
def down(delete: bool) -> None:
    """Stop the embedded servers. Their data stay, unless --delete is given.

    Example: heimdall services down
    """
    from heimdall.services import lifecycle

    lifecycle.down(Path(), delete, click.echo)


@services.command()
@options.as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say where both services are and whether they answer; exit code 1 unless both do.

    Example: heimdall services status
    """
    from heimdall.core import artifacts, table
    from heimdall.services import lifecycle

    found = lifecycle.status(Path())
    if as_json:
        click.echo(artifacts.json_text([dataclasses.asdict(one) for one in found]), nl=False)
    else:
        rows = [
            (one.service, "ready" if one.ready else "not ready", f"{one.address} ({one.detail})")
            for one in found
        ]
        for line in table.lines(("", "", ""), rows):
            click.echo(line)
    if not all(service.ready for service in found):
        context.exit(1)


@services.command()
def reader() -> None:
    """Print the embedded S3 server's read-only credentials as variables of a shell.

    They pull data and released models, and change nothing. What is printed is a secret.

    Example: heimdall services reader > reader.env
    """
    from heimdall.services import seaweedfs
    from heimdall.storage import embedded
    from heimdall.storage.endpoints import S3_VARIABLE

    settings = embedded.load(Path())
    if settings is None:
        remedy = "Run `heimdall services up`; a configured server's administrator makes such credentials"
        raise HeimdallError("S3", "no embedded server here", remedy)
    access_key, secret_key = seaweedfs.reader(settings)
    click.echo(f"export {S3_VARIABLE}={settings.s3_endpoint_url}")
    click.echo(f"export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key}")
    click.echo(f"export AWS_DEFAULT_REGION={embedded.REGION}")
