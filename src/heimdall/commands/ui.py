"""`heimdall ui`: MLflow's pages on this machine."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_PORT = 5000  # MLflow's


@click.command(epilog="Example: heimdall ui --port 5001")
@click.option(
    "--port", type=click.IntRange(1024, 65535), default=DEFAULT_PORT, show_default=True, help="Of 127.0.0.1."
)
@click.option(
    "--browser/--no-browser", default=True, show_default=True, help="Open it, where there is a desktop."
)
def ui(port: int, browser: bool) -> None:
    """Show the recorded runs in a browser, until Ctrl-C.

    MLflow's server on the store of the trainings, on the loopback interface alone, with requests for other
    hosts refused and without its job workers. Its log is .heimdall/mlflow-ui.log.
    """
    from heimdall.track import ui as serving

    def ready(address: str, store: str) -> None:
        click.echo(f"heimdall ui: {address} shows the runs in {store}; Ctrl-C ends it")
        if browser and serving.has_desktop():
            click.launch(address)

    serving.serve(Path().resolve(), port, ready)
