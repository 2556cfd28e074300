"""`heimdall cluster`: several machines that compute one pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import ray_address, variables

ADDRESS = variables.RAY_ADDRESS.name
TOKEN = variables.RAY_AUTH_TOKEN_PATH.name
PORT = 6379  # Ray's own

cpus = click.option(
    "--cpus", type=click.IntRange(min=0), help="CPUs that it may use here; all if it is left out."
)


@click.group()
def cluster() -> None:
    """Let several machines compute the stages, with the same bytes as one.

    A machine needs the same installation as this clone has: `make setup cluster`. Nothing else is started
    by itself: without HEIMDALL_RAY_ADDRESS every stage runs on this machine alone. docs/scale.md says what
    travels between the machines, and what a lost one does.

    Example: heimdall cluster start
    """


@cluster.command()
@click.option(
    "--listen",
    default=f"127.0.0.1:{PORT}",
    show_default=True,
    metavar="HOST[:PORT]",
    help="Address of this machine at which the others reach it. Name one of a private network.",
)
@cpus
def start(listen: str, cpus: int | None) -> None:
    """Start a cluster whose first machine is this one.

    Who has the token may run programs on every machine of the cluster, as the user who joined it. Nothing
    between the machines is encrypted.

    Example: heimdall cluster start --listen 10.0.0.1
    """
    from heimdall.services import ray_node

    host, _, port = listen.partition(":")
    if port and not port.isdigit():
        raise click.BadParameter(f"{port!r} is no port", param_hint="--listen")
    address = f"{host}:{port or PORT}"
    file = ray_node.start(host, int(port or PORT), cpus)
    say = output.step()
    say(f"This machine is the first of the cluster {address}; its token is in {file}.")
    if host.startswith("127."):
        say("It is of this machine alone: for others, start it with --listen and an address that they reach.")
    else:
        say(
            "To add another machine, copy the token to it, as a file that only you may read, and type there: "
            f"heimdall cluster join {address} --token-file FILE"
        )
    say("To compute on the cluster, type before `dvc repro`:")
    click.echo(f"export {ADDRESS}={address}")


@cluster.command()
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"Copy of the cluster's token, which only you may read. [default: ${TOKEN}, else ~/.ray/auth_token]",
)
@cpus
def join(address: str, token_file: Path | None, cpus: int | None) -> None:
    """Make this machine one of a cluster.

    Example: heimdall cluster join 10.0.0.1:6379 --token-file token
    """
    from heimdall.services import ray_node

    ray_node.join(address, token_file or ray_address.token_file(), cpus)
    output.step()(f"This machine is one of the cluster {address}.")


@cluster.command()
@options.as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """List the machines of the cluster, their CPUs, and why one is refused. Then the exit code is 1.

    Example: heimdall cluster status
    """
    from heimdall.core import ray_cluster, table

    found = ray_cluster.nodes()
    if as_json:
        output.as_json([vars(one) | {"refusal": one.refusal and str(one.refusal)} for one in found])
    else:
        rows = [
            (
                one.name,
                f"{one.cpus} CPUs",
                str(one.refusal or ("ready" if one.shares else "ready, is sent its files")),
            )
            for one in found
        ]
        for line in table.lines(("", "", ""), rows):
            click.echo(line)
    if any(one.refusal for one in found):
        context.exit(1)


@cluster.command()
def stop() -> None:
    """Take this machine out of its cluster. On the first machine this ends the cluster.

    Example: heimdall cluster stop
    """
    from heimdall.services import ray_node

    stopped = ray_node.stop()
    output.step()("This machine has left the cluster." if stopped else "This machine was in no cluster.")
