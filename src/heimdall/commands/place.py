"""Where a command was typed, and the clone in which it runs: commands work from any folder of a clone.

The program changes to the clone's root before a command begins, so that all rooms find their files. Paths
that the user typed are meant from the folder where they were typed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from heimdall.core import paths

# What a clone has beside its git repository, which a copy of the files may lack.
MARKS = ("dvc.yaml", "params.yaml", "src/heimdall")
_TYPED_IN = f"{__name__}.typed_in"


def clone_around(folder: Path) -> Path | None:
    """The clone that a folder is in: the nearest of it and its parents that looks like one; None outside."""
    return next(
        (one for one in (folder, *folder.parents) if all((one / mark).exists() for mark in MARKS)), None
    )


def enter(context: click.Context, root: Path) -> None:
    """Go to the clone's root for the rest of the command, and remember where it was typed."""
    typed_in = Path.cwd()
    if typed_in != root:
        context.meta[_TYPED_IN] = typed_in
        os.chdir(root)


def as_typed(text: str) -> str:
    """A path that was typed, as it is meant here.

    Args:
        text: Relative to the folder where the command was typed.

    Returns:
        The same text in the clone's root and outside of clones, else an absolute path.
    """
    context = click.get_current_context(silent=True)
    typed_in = context.meta.get(_TYPED_IN) if context else None
    return os.path.normpath(typed_in / text) if typed_in else text


class TypedPath(click.Path):
    """A path on the command line. A default, which is no text but a `Path`, is meant from the root."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """As click does, from the folder where it was typed."""
        return super().convert(as_typed(value) if isinstance(value, str) else value, param, ctx)

    @classmethod
    def like(cls, other: click.Path) -> TypedPath:
        """The same demands on a path."""
        made = cls()
        vars(made).update(vars(other))
        return made


class _FileName(click.ParamType[str]):
    """What a shell completes as a file's name."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Leave it to the shell."""
        return [CompletionItem(incomplete, type="file")]


class ModelName(_FileName):
    """An .onnx file, or else a git revision."""

    name = "MODEL"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A file's name from the folder where it was typed; a revision as it is."""
        if isinstance(value, str) and value.endswith(paths.ONNX.suffix):
            return as_typed(value)
        return str(value)


class NamedFile(_FileName):
    """A file, with or without the name of what it belongs to before it: `NAME=FILE`."""

    name = "[NAME=]FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The file's name from the folder where it was typed; a file whose name has `=` is one, too."""
        text = as_typed(str(value))
        before, equals, after = str(value).partition("=")
        if equals and os.sep not in before and not Path(text).exists():
            return f"{before}={as_typed(after)}"
        return text


class FileOrName(_FileName):
    """A file as of `NamedFile`, or else the name of something that is no file."""

    name = "FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The file's name from the folder where it was typed; any other name as it is."""
        found = NamedFile().convert(value, param, ctx)
        return found if is_file(str(value)) or Path(found).exists() else str(value)


def is_file(text: str) -> bool:
    """Whether it is a path, or one after a name and `=`: of an existing file, or with what no name has."""
    return Path(text).exists() or any(letter in text for letter in "./=*?")


class RecordingName(_FileName):
    """A recording's file, with or without its receiver before it: `ID=FILE`."""

    name = "[ID=]FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The file's name from the folder where it was typed."""
        before, equals, after = str(value).partition("=")
        if equals and before.isascii() and before.isdigit():
            return f"{before}={as_typed(after)}"
        return as_typed(str(value))
