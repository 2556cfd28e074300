"""Options that several commands have."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heimdall.core import artifacts, paths, remedies
from heimdall.recordings import limits

REMEDY = f"{remedies.BRING}; or name an .onnx file or a git revision that is there"

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=paths.FEATURES,
    show_default=True,
    help="Folder of the features.",
)


def in_a_folder(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    """Refuse a file to be written in a folder that is not there: it is mistyped. An option's callback."""
    if file is not None and file.name == "-":
        raise click.BadParameter("it is written to a file, and - is the name of none", context, parameter)
    if file is not None and not file.parent.is_dir():
        raise click.BadParameter(f"the folder {file.parent} does not exist", context, parameter)
    return file


def refuse_overwriting(context: click.Context) -> None:
    """Refuse a file to be written that the command reads, or that it writes as something else, too.

    Raises:
        click.UsageError: There is one.
    """
    read: set[Path] = set()
    outputs: dict[Path, str] = {}
    for param in context.command.params:
        value = context.params.get(param.name or "")
        if param.callback is not in_a_folder:
            every = value if isinstance(value, tuple) else (value,)
            texts = [str(one) for one in every if isinstance(one, str | Path)]
            read |= {
                Path(name).resolve() for text in texts for name in (text, text.partition("=")[2]) if name
            }
        elif value is not None and outputs.setdefault(value.resolve(), param.opts[0]) != param.opts[0]:
            first = outputs[value.resolve()]
            raise click.UsageError(f"{first} and {param.opts[0]} name one file: name two")
    for file, option in outputs.items():
        if file in read and file.exists():
            raise click.UsageError(f"{option} would replace {file.name}, which is read: name another file")


def written(name: str, what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for a file that is written beside what is printed.

    Args:
        name: Of the option, without its dashes.
        what: What the file is.
    """
    return click.option(
        f"--{name}",
        f"{name}_file",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=in_a_folder,
        help=f"Also write the result to this file as {what}.",
    )


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
json_file = click.option(
    "--json-file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=in_a_folder,
    help="Also write the JSON document to this file.",
)


class FiniteRange(click.FloatRange):
    """A number in a range; `nan` lies in every range of click."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """As click does, of finite numbers only."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class FrequencyMhz(click.ParamType[float]):
    """A frequency in MHz; one in kHz or Hz is out of range, and told to be one."""

    name = "MHZ"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A number between `limits.LOWEST_MHZ` and `limits.HIGHEST_MHZ`."""
        try:
            frequency_mhz = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number. Write it with a decimal point, such as 145.5.", param, ctx)
        fault = limits.frequency_fault(frequency_mhz)
        if fault is None:
            return frequency_mhz
        cause, meant = fault
        self.fail(f"{cause}. {meant}".strip(), param, ctx)


def require_features(folder: Path) -> None:
    """Say before anything slow that there are no features.

    Raises:
        HeimdallError: As the readers of the features say it.
    """
    artifacts.require(folder / paths.NETWORK)


def require_models(*names: str) -> None:
    """Say before anything slow that a model is not there; what is no .onnx file is a git revision.

    Raises:
        HeimdallError: The first that is missing.
    """
    from heimdall.reproduce import git

    for name in names:
        if name.endswith(paths.ONNX.suffix):
            artifacts.require(Path(name), remedy=REMEDY)
        else:
            git.commit_of(Path(), name)
