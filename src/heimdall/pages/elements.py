"""What stands in a page: sections, sentences, tables, figures. All text that is given is escaped here.

What is markup already has the type `Markup`, so that the type checker tells it from text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType

Markup = NewType("Markup", str)

_OPEN_ROWS = 60  # a longer table is closed at first
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Link:
    """Text that leads to another place of the page.

    Attributes:
        text: What is read.
        identifier: Of the section or row to which it leads.
    """

    text: str
    identifier: str


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        headings: Of its columns.
        rows: As many cells each.
        align: A letter "l" or "r" for each column; numbers stand right.
        keys: By the number of a column, a number for each row by which the column is sorted, where the cells
            have units; NaN is last. Without keys a column on the right is sorted as numbers, and one on the
            left as text.
        sortable: Whether headings sort; not where a column has several units.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    align: str
    keys: Mapping[int, Sequence[float]] = field(default_factory=dict)
    sortable: bool = True


def printable(text: str) -> str:
    """A name that others chose, with every control, direction or unassigned character replaced.

    Spaces of every width stay, and what joins or parts the letters of a script.
    """
    return "".join(letter if _is_printable(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _is_printable(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def escaped(text: str) -> Markup:
    """Text as markup, quotation marks too."""
    return Markup(html.escape(printable(text)))


def named(identifier: str) -> str:
    """The attribute that gives an element its identifier, with a space before it; "" for none.

    Raises:
        ValueError: It has another character than letters, digits, ".", "_" and "-", or begins with no letter.
    """
    if identifier and not _IDENTIFIER.fullmatch(identifier):
        raise ValueError(f"no identifier: {identifier!r}")
    return f' id="{identifier}"' if identifier else ""


def link(to: Link) -> Markup:
    """A link within the page."""
    if not _IDENTIFIER.fullmatch(to.identifier):
        raise ValueError(f"no identifier: {to.identifier!r}")
    return Markup(f'<a href="#{to.identifier}">{escaped(to.text)}</a>')


def section(title: str, *parts: Markup, identifier: str = "") -> Markup:
    """A part of the page with a heading."""
    inner = "\n".join(parts)
    return Markup(f"<section{named(identifier)}>\n<h2>{escaped(title)}</h2>\n{inner}\n</section>")


def subsection(title: str, *parts: Markup, identifier: str = "") -> Markup:
    """A part of a section with a smaller heading."""
    inner = "\n".join(parts)
    return Markup(f"<section{named(identifier)}>\n<h3>{escaped(title)}</h3>\n{inner}\n</section>")


def paragraphs(sentences: Iterable[str]) -> Markup:
    """A paragraph for each of the sentences."""
    return Markup("".join(f"<p>{escaped(one)}</p>" for one in sentences))


def lead(sentences: Iterable[str]) -> Markup:
    """The same, more important than what follows."""
    return Markup(f'<div class="lead">{paragraphs(sentences)}</div>')


def note(sentence: str) -> Markup:
    """A sentence that is less important than the others."""
    return Markup(f'<p class="note">{escaped(sentence)}</p>')


def bullets(sentences: Iterable[str | Link]) -> Markup:
    """A list of sentences or links."""
    return Markup("<ul>" + "".join(f"<li>{_cell(one)}</li>" for one in sentences) + "</ul>")


def definitions(pairs: Iterable[tuple[str, Cell]]) -> Markup:
    """Names, each with what it stands for."""
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{_cell(said)}</dd>\n" for name, said in pairs)
    return Markup(f"<dl>\n{rows}</dl>")


def code(lines: Iterable[str]) -> Markup:
    """Lines as they are typed or printed."""
    return Markup(f'<pre tabindex="0"><code>{"&#10;".join(map(escaped, lines))}</code></pre>')


def figure(drawing: Markup, caption: str) -> Markup:
    """A drawing with what it shows."""
    return Markup(f"<figure>\n{drawing}\n<figcaption>{escaped(caption)}</figcaption>\n</figure>")


def beside(*parts: Markup, narrow: bool = False) -> Markup:
    """Parts that stand beside each other where there is room, else below each other.

    Args:
        parts: What stands there.
        narrow: Whether three of them have room in a row, and not two.
    """
    inner, more = "\n".join(parts), " narrow" if narrow else ""
    return Markup(f'<div class="beside{more}">\n{inner}\n</div>')


def details(summary: str, *parts: Markup, identifier: str = "", is_open: bool = False) -> Markup:
    """What is closed at first, unless it is `is_open`."""
    inner = "\n".join(parts)
    shown = " open" if is_open else ""
    return Markup(
        f"<details{named(identifier)}{shown}><summary>{escaped(summary)}</summary>\n{inner}\n</details>"
    )


def table(content: Table, *, caption: str = "", summary: str = "") -> Markup:
    """A table, whose headings are buttons that sort it where they may; closed at first if it has many rows.

    Args:
        content: The table.
        caption: What it shows, for whoever does not see what stands around it; "" for none.
        summary: What is read where it is closed: with one it is, however few rows it has.
    """
    columns = list(zip(content.headings, content.align, strict=True))
    # Without the script a button would do nothing: the script makes them.
    head = "".join(f'<th scope="col" class="{side}">{escaped(name)}</th>' for name, side in columns)
    rows = "".join(f"<tr>{_row(content, number)}</tr>\n" for number in range(len(content.rows)))
    said = f"<caption><span>{escaped(caption)}</span></caption>\n" if caption else ""
    order = ' class="sortable"' if content.sortable else ""
    name = escaped(caption or ", ".join(content.headings))
    shown = Markup(
        f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">\n<table{order}>\n{said}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>"
    )
    if summary or len(content.rows) > _OPEN_ROWS:
        return details(summary or f"{len(content.rows)} rows", shown)
    return shown


def plain(content: Table) -> list[list[str]]:
    """The rows of a table as text, for a terminal."""
    return [[cell.text if isinstance(cell, Link) else cell for cell in row] for row in content.rows]


def _row(content: Table, number: int) -> str:
    cells = []
    for column, (cell, side) in enumerate(zip(content.rows[number], content.align, strict=True)):
        keys = content.keys.get(column)
        key = "" if keys is None else f' data-key="{keys[number]:.9g}"'
        cells.append(f'<td class="{side}"{key}>{_cell(cell)}</td>')
    return "".join(cells)


def _cell(cell: Cell) -> Markup:
    return link(cell) if isinstance(cell, Link) else escaped(cell)
