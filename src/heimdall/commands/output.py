"""What commands print, and how much of it: results on stdout; progress, notes and errors on stderr."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import click

from heimdall.core import artifacts, variables

_QUIET = f"{__name__}.quiet"
# First words of a line that says how something came out.
_COLOURS = {
    "ok": "green",
    "unchanged:": "green",
    "CHANGED": "red",
    "CHANGED:": "red",
    "DAMAGED:": "red",
    "ALARM": "red",
}


class _NoTerminal:
    """A stream that says that it is no terminal, so that nobody draws a progress bar on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return False


def set_colour(context: click.Context) -> None:
    """No colour with NO_COLOR; else click decides, which colours terminals alone."""
    if variables.NO_COLOR.read():
        context.color = False


def set_quiet(context: click.Context, _param: click.Parameter, value: bool) -> None:
    """No progress and no notes; the option's callback."""
    if value and not is_quiet(context):
        context.meta[_QUIET] = True
        sys.stderr = cast("TextIO", _NoTerminal(sys.stderr))


def set_verbose(_context: click.Context, _param: click.Parameter, value: bool) -> None:
    """Log lines of libraries, and where an error comes from; the option's callback."""
    if value:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
        # Their lines of debugging hold headers with tokens, and every font of the machine.
        for name in ("botocore", "boto3", "s3transfer", "matplotlib"):
            logging.getLogger(name).setLevel(logging.INFO)


def is_quiet(context: click.Context) -> bool:
    """Whether --quiet was given."""
    return bool(context.meta.get(_QUIET))


def progress(command: str) -> Callable[[str], None]:
    """What a command gives to rooms that report their progress: a line each on stderr, unless quiet.

    Args:
        command: Its name, before each line.
    """
    context = click.get_current_context(silent=True)
    if context is not None and is_quiet(context):
        return lambda line: None
    return lambda line: click.echo(f"{command}: {line}", err=True)


def step() -> Callable[[str], None]:
    """What a command gives to rooms that say each of their steps: a line each on stdout, unless quiet."""
    context = click.get_current_context(silent=True)
    return (lambda line: None) if context is not None and is_quiet(context) else click.echo


def as_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document, all that a command with --json prints on stdout.

    Args:
        value: Mappings, sequences, texts, numbers and paths; what is no number becomes null.
    """
    click.echo(artifacts.json_text(_plain(value)), nl=False)


def _plain(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def lines(shown: Iterable[str], *, err: bool = False) -> None:
    """Print lines; on a terminal the verdict at the beginning of a line has a colour.

    Args:
        shown: The lines.
        err: Print them on stderr.
    """
    for line in shown:
        text = line.lstrip()
        word, space, rest = text.partition(" ")
        colour = _COLOURS.get(word)
        indent = line[: len(line) - len(text)]
        click.echo(f"{indent}{click.style(word, fg=colour)}{space}{rest}" if colour else line, err=err)
