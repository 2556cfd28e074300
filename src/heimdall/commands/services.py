"""`heimdall services`: PostgreSQL and S3 on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core.errors import HeimdallError


@click.group()
def services() -> None:
    """Start, stop and check PostgreSQL and S3 on this machine.

    If HEIMDALL_DATABASE_URL is set, that database is used and no PostgreSQL server is started. If
    HEIMDALL_S3_ENDPOINT_URL is set, that S3 server is used and none is started; its credentials and region
    are in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.

    Example: heimdall services up
    """


@services.command()
def up() -> None:
    """Start the servers.

    The command also makes the tables, the buckets and the settings of DVC's remote.

    The servers have the ports 18730 to 18739 and 28739. If another clone or program has one of them, the
    servers take the next free ports. The clone remembers its ports. HEIMDALL_PORT_BASE asks for other ports:
    ten from that number on, and one that is 10009 above it.

    Example: heimdall services up
    """
    from heimdall.services import lifecycle

    lifecycle.up(Path(), output.step())


@services.command()
@click.option("--delete", is_flag=True, help="Also delete the data of the embedded servers.")
def down(delete: bool) -> None:
    """Stop the embedded servers. Their data stay unless --delete is given.

    Example: heimdall services down
    """
    from heimdall.services import lifecycle

    lifecycle.down(Path(), delete, output.step())


@services.command()
@options.as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say where both services are and whether they answer. The exit code is 1 unless both answer.

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
    """Print read-only credentials of the embedded S3 server.

    They are printed as variables of a shell. With them one can pull data and released models, but change
    nothing. Keep what is printed secret.

    Example: heimdall services reader > reader.env
    """
    from heimdall.storage import embedded
    from heimdall.storage.endpoints import S3_VARIABLE
    from heimdall.storage.identities import Identity

    settings = embedded.load(Path())
    if settings is None:
        remedy = (
            "Run `heimdall services up`, or ask the administrator of the configured server for credentials"
        )
        raise HeimdallError("S3", "this clone has no embedded server", remedy)
    keys = settings.s3_keys(Identity.READER)
    click.echo(f"export {S3_VARIABLE}={settings.s3_endpoint_url}")
    click.echo(f"export AWS_ACCESS_KEY_ID={keys.access_key} AWS_SECRET_ACCESS_KEY={keys.secret_key}")
    click.echo(f"export AWS_DEFAULT_REGION={embedded.REGION}")


@services.command()
@click.argument("name", required=False, metavar="[ROLE]")
def roles(name: str | None) -> None:
    """Print what each role needs in an S3 server of your own, as policies of Amazon's.

    ROLE is admin, reader, snapshot, writer, remote, releaser or tracker; then only its policy is printed.
    docs/s3.md says which command has which role. The embedded server has keys for each.

    Example: heimdall services roles releaser
    """
    from heimdall.core import artifacts
    from heimdall.storage.identities import Identity

    policies = {identity.label: identity.policy for identity in Identity}
    if name is not None and name not in policies:
        raise click.UsageError(f"no role has the name {name!r}; the roles are {', '.join(policies)}")
    click.echo(artifacts.json_text(policies if name is None else policies[name]), nl=False)
