"""Tables of text, so that all that commands and stages print look alike."""

from __future__ import annotations

from collections.abc import Sequence


def lines(headings: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> list[str]:
    """A table as lines, each column as wide as its widest cell and two spaces from the next.

    Args:
        headings: One for each column; all of them "" for a table without headings.
        rows: Cells as they are printed. None is read as a number: hashes and versions stay what they are.
        align: One letter a column, "l" left or "r" right, as in `LaTeX`; None for all left.

    Returns:
        The headings' line, if there are any, and one for each row; no line ends with spaces.
    """
    from tabulate import tabulate  # noqa: PLC0415 - a tenth of what `--help` may take

    sides = ["right" if letter == "r" else "left" for letter in align or "l" * len(headings)]
    text = tabulate(
        [headings, *rows] if any(headings) else rows,
        tablefmt="plain",
        disable_numparse=True,
        colalign=sides,
    )
    return [line.rstrip() for line in text.split("\n")]


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """A table of GitHub's Markdown as lines; a "|" in a cell is escaped.

    Args:
        headings: One for each column.
        rows: Cells, none of which is read as a number.
        align: As in `lines`.
    """
    shown = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    aligned = [{"l": "---", "r": "---:"}[letter] for letter in align]
    # Not tabulate's: its padding is a third of a comment's 65,536 characters.
    return ["| " + " | ".join(line) + " |" for line in (headings, aligned, *shown)]
