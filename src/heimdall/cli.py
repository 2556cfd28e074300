"""`heimdall`: what a person types besides `dvc`.

Commands are imported when they are called, so that `heimdall --help` does not wait for libraries.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from heimdall.commands import options, output, place
from heimdall.core import child, determinism, errors, stage
from heimdall.core.errors import HeimdallError

HELP = ("-h", "--help")


@dataclass(frozen=True)
class Entry:
    """A command before it is imported: `heimdall.commands.<name>.<name>`.

    Attributes:
        help: One line for `heimdall --help`.
        computes: Whether its numbers must not depend on the CPU.
        needs_clone: Whether it works only inside a clone of the repository.
    """

    help: str
    computes: bool
    needs_clone: bool = True


ENTRIES = {
    "cluster": Entry("Let several machines compute the stages, with the same bytes as one.", computes=False),
    "compare": Entry("Compare two models on the same test sessions.", computes=True),
    "completion": Entry(
        "Print a script that completes commands in a shell.", computes=False, needs_clone=False
    ),
    "database": Entry("Check what a snapshot reads in PostgreSQL, and make our tables.", computes=False),
    "demo": Entry("Write a simulated demo world to the database and the bucket.", computes=True),
    "doctor": Entry("Check what this machine lacks, and say how to get it.", computes=False),
    "ingest": Entry("Write real recordings to the database and the bucket.", computes=True),
    "lineage": Entry("Trace a model file to the recordings that made it, and check them.", computes=False),
    "locate": Entry(
        "Locate a transmitter from files of anybody, or sessions by every method.",
        computes=True,
        needs_clone=False,
    ),
    "machine": Entry(
        "Show CPU, instruction sets and library versions, and compare them with the recorded ones.",
        computes=False,
        needs_clone=False,
    ),
    "monitor": Entry("Compare newly approved sessions with a model's claims (for cron).", computes=True),
    "predict": Entry(
        "Locate transmitters from recordings with the exported model.", computes=True, needs_clone=False
    ),
    "promote": Entry("Make a released version the champion.", computes=False),
    "receivers": Entry(
        "Measure the errors of each receiver's clock, place and filter.", computes=True, needs_clone=False
    ),
    "release": Entry("Release the checked-out commit as a version that never changes.", computes=False),
    "releases": Entry("List the released versions, and check them for damage.", computes=False),
    "report": Entry("Write the last run, or that of a revision, as a page for a browser.", computes=False),
    "review": Entry("Print what the working tree changes against a baseline, as Markdown.", computes=True),
    "rollback": Entry("Make the former champion the champion again.", computes=False),
    "services": Entry("Start, stop and check PostgreSQL and S3 on this machine.", computes=False),
    "session": Entry("List sessions, show one, or fetch its recordings.", computes=True),
    "sweep": Entry(
        "Search for better parameters, on any number of machines, as DVC experiments.", computes=False
    ),
    "track": Entry("Send to MLflow what it does not have yet.", computes=False),
    "train": Entry("Train a model by hand, with any number of workers and the same bytes.", computes=False),
    "ui": Entry("Show the recorded runs in a browser, until Ctrl-C.", computes=False),
    "verify": Entry("Rebuild a revision and compare every output with its dvc.lock.", computes=False),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in ENTRIES:
            return None
        command = getattr(importlib.import_module(f"heimdall.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - our own modules
        return _as_part_of_the_program(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; a name that nothing has is told beside those that are like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=ENTRIES, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, ENTRIES[name].help) for name in self.list_commands(ctx)])


def _flags(hidden: bool) -> list[click.Option]:
    """What the program takes before a command's name, and every command, too."""
    return [
        click.Option(
            list(stage.QUIET),
            is_flag=True,
            expose_value=False,
            callback=output.set_quiet,
            hidden=hidden,
            help="Print only the result and errors, without progress and notes.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=output.set_verbose,
            hidden=hidden,
            help="Also print the log lines of libraries, and where an error comes from.",
        ),
    ]


def _as_part_of_the_program(command: click.Command) -> click.Command:
    """A command, or each of a group, with the program's flags and with paths from where they were typed."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            _as_part_of_the_program(one)
        return command
    for param in command.params:
        if type(param.type) is click.Path:
            param.type = place.TypedPath.like(param.type)
    if not any("--quiet" in param.opts for param in command.params):
        command.params += _flags(hidden=True)
        command.callback = _that_replaces_no_input(command.callback)
    return command


def _that_replaces_no_input(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    assert callback is not None  # noqa: S101 - our own commands

    @functools.wraps(callback)
    def checked(*args: object, **kwargs: object) -> object:
        options.refuse_overwriting(click.get_current_context())
        return callback(*args, **kwargs)

    return checked


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": HELP},
    params=_flags(hidden=False),
    epilog="Example: heimdall services up",
)
@click.version_option(package_name="heimdall")
@click.pass_context
def heimdall(context: click.Context) -> None:
    """Train and release a model that locates transmitters from IQ recordings of a WebSDR network.

    DVC runs the pipeline itself: `dvc repro`, `dvc exp run`, `dvc metrics diff`, `dvc push`.

    Commands work in any folder of a clone of the repository. `heimdall COMMAND --help` explains a command
    and has examples. `heimdall completion --help` says how to complete commands with the Tab key. --quiet
    and --verbose may also stand after the name of the command.
    """
    output.set_colour(context)
    child.settle()
    root = place.clone_around(Path.cwd())
    if root is not None:
        place.enter(context, root)
    elif ENTRIES[str(context.invoked_subcommand)].needs_clone and not _asks_for_help():
        cause = "not inside a clone of Heimdall's repository"
        raise HeimdallError(str(Path.cwd()), cause, "Change to the folder of a clone, or to one inside it")


def _asks_for_help() -> bool:
    return any(option in sys.argv for option in HELP)


def _make_reproducible() -> None:
    """Give a command that computes the environment of the recipe, which may replace this process.

    Before anything changes the working directory: the process is replaced by one of the same command line.
    """
    name = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    # Help is no computation, and a new process would only make it slower.
    if name in ENTRIES and ENTRIES[name].computes and not _asks_for_help():
        root = place.clone_around(Path.cwd())
        needs_clone = ENTRIES[name].needs_clone
        if root is not None or not needs_clone:
            # What works without a clone writes nothing that a lock file records.
            quiet = not needs_clone or any(option in sys.argv for option in stage.QUIET)
            determinism.ensure((root or Path()) / determinism.PARAMS_FILE, quiet=quiet)


def main() -> None:
    """Run a command; every foreseen failure is one line on stderr and an exit code that is not 0."""
    try:
        _make_reproducible()
        code = heimdall.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        foreseen = errors.foreseen(error)
        if foreseen is None:
            raise
        logging.getLogger(__name__).debug("where this error comes from", exc_info=error)
        click.echo(f"heimdall: {' '.join(str(foreseen).split())}", err=True)
        code = 1
    # Outside its standalone mode click returns an exit code, or what the command returned.
    sys.exit(code if isinstance(code, int) else 0)
