"""`heimdall completion`: what lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
Example, for the shell that is open (bash):
  eval "$(heimdall completion bash)"
\b
To have it in every new shell, type the line of your shell once:
  heimdall completion bash >> ~/.bashrc
  heimdall completion zsh >> ~/.zshrc        (after the line with compinit)
  heimdall completion fish > ~/.config/fish/completions/heimdall.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands and options with the Tab key."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has these three
    made = found(context.find_root().command, {}, "heimdall", "_HEIMDALL_COMPLETE")
    click.echo(made.source_template % made.source_vars())
