"""`heimdall`: what a person types besides `dvc`.

Commands are imported when they are called, so that `heimdall --help` does not wait for libraries.
"""

from __future__ import annotations

import errno
import importlib
import sys
from dataclasses import dataclass

import click

from heimdall.core import determinism
from heimdall.core.errors import HeimdallError

# No bug of ours: a folder without permission, a read-only one, a full disk.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Entry:
    """A command before it is imported: `heimdall.commands.<name>.<name>`.

    Attributes:
        help: One line for `heimdall --help`.
        computes: Whether its numbers must not depend on the CPU.
    """

    help: str
    computes: bool


ENTRIES = {
    "compare": Entry("Two models on the same test sessions, with intervals.", computes=True),
    "demo": Entry("The simulated demo world: rows and recordings from a seed.", computes=True),
    "doctor": Entry("What this machine lacks, each with a remedy.", computes=False),
    "ingest": Entry("Real recordings into the database and the bucket.", computes=True),
    "lineage": Entry("From a model file to the rows that made it; is anything changed?", computes=False),
    "locate": Entry("Locate the transmitters of sessions by every method, side by side.", computes=True),
    "machine": Entry("CPU, instruction sets and versions here, beside the recorded ones.", computes=False),
    "monitor": Entry("Newly approved sessions against a model's claims; exit codes for cron.", computes=True),
    "predict": Entry("Locate transmitters from recordings with the exported model.", computes=True),
    "promote": Entry("Make a released version the champion.", computes=False),
    "receivers": Entry("Delay of each receiver's clock, and the shape of its filter.", computes=True),
    "release": Entry("Release the checked-out commit as a version that never changes.", computes=False),
    "releases": Entry("List the released versions; is any file or log entry damaged?", computes=False),
    "review": Entry("What the working tree changes against a baseline, as Markdown.", computes=True),
    "rollback": Entry("Make the former champion the champion again.", computes=False),
    "services": Entry("PostgreSQL and S3 on this machine: up, down, status.", computes=False),
    "sweep": Entry(
        "Search for better parameters, on any number of machines, as DVC experiments.", computes=False
    ),
    "track": Entry("Give MLflow what it does not have yet: trainings, evaluations, models.", computes=False),
    "ui": Entry("The recorded runs in a browser, until Ctrl-C.", computes=False),
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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, ENTRIES[name].help) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup)
@click.version_option(package_name="heimdall")
def heimdall() -> None:
    """From IQ recordings of a WebSDR network to a versioned transmitter localizer.

    The pipeline itself is DVC's: `dvc repro`, `dvc exp run`, `dvc metrics diff`, `dvc push`.

    Example: heimdall services up
    """


def main() -> None:
    """Run a command; every foreseen failure is one line on stderr and an exit code that is not 0."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        # Help is no computation, and a new process would only make it slower.
        if name in ENTRIES and ENTRIES[name].computes and "--help" not in sys.argv:
            determinism.ensure()
        code = heimdall.main(standalone_mode=False)
    except HeimdallError as error:
        click.echo(f"heimdall: {' '.join(str(error).split())}", err=True)
        code = 1
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        remedy = "Make room, or run where you may write"
        click.echo(f"heimdall: {error.filename}: {error.strerror}. {remedy}", err=True)
        code = 1
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    # Outside its standalone mode click returns an exit code, or what the command returned.
    sys.exit(code if isinstance(code, int) else 0)
