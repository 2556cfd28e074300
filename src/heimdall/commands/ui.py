"""`heimdall ui`: MLflow's pages on this machine."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_PORT = 5000  # MLflow's


@click.command(epilog="Example: heimdall ui --port 5001")
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the server on 127.0.0.1.",
)
@click.option(
    "--browser/--no-browser",
    default=True,
    show_default=True,
    help="Open the page in a browser if there is a desktop.",
)
def ui(port: int, browser: bool) -> None:
    """Show the recorded runs in a browser, until Ctrl-C.

    This starts MLflow's server on the store of the trainings. The server listens on the loopback interface
    only, refuses requests for other hosts, and has no job workers. Its log is .heimdall/mlflow-ui.log.
    """
    from heimdall.track import ui as serving

    def ready(address: str, store: str) -> None:
        click.echo(f"heimdall ui: {address} shows the runs in {store}. Press Ctrl-C to end it.")
        if browser and serving.has_desktop():
            click.launch(address)

    serving.serve(Path().resolve(), port, ready)
