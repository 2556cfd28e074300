"""Where the rows of a snapshot come from: a file of `sql/` with a SELECT of measurements, one of receivers.

`snapshot.source` in params.yaml names the file. A line `-- measurements` or `-- receivers` begins a SELECT. A
file `sql/NAME.receivers.csv` beside it takes the place of the second one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError

FOLDER = Path("sql")
OWN = "own"
_PARTS = ("measurements", "receivers")
_NAME = r'(?:"[^"]+"|\w+)'
_TABLE = rf'(?!(?:LATERAL|ONLY)\b){_NAME}(?:\s*\.\s*{_NAME})?(?![\w."])(?!\s*\()'
# The tables of one FROM or JOIN: all but the first stand after a comma, maybe with an alias before it.
_TABLES = re.compile(
    rf"\b(?<!DISTINCT )(?:FROM|JOIN)\s+(?:ONLY\s+)?({_TABLE}(?:(?:\s+(?:AS\s+)?{_NAME})?\s*,\s*{_TABLE})*)",
    re.IGNORECASE,
)
_AFTER_COMMA = re.compile(rf"(?:^|,)\s*(?:({_NAME})\s*\.\s*)?({_NAME})")
_WITH = re.compile(r"(?:\bWITH(?:\s+RECURSIVE)?|,)\s+(\w+)\s+AS\s*(?:MATERIALIZED\s*)?\(", re.IGNORECASE)
_NO_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)  # comments and texts
_FROM_IN_FUNCTIONS = re.compile(r"\b(?:extract|substring|trim|overlay)\s*\([^()]*\)", re.IGNORECASE)
_HEADING = re.compile(rf"^--[ \t]*({'|'.join(_PARTS)})[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class RowSource:
    """A file of `sql/`.

    Attributes:
        name: As `snapshot.source` has it.
        path: The file.
        sha256: Of the file.
        measurements: The SELECT of the approved rows.
        receivers: The SELECT of the receivers; None where there is none.
        pinned: The file of receivers that takes its place; None where there is none.
    """

    name: str
    path: Path
    sha256: str
    measurements: str
    receivers: str | None
    pinned: Path | None

    @property
    def is_own(self) -> bool:
        """Whether it reads Heimdall's own tables."""
        return self.name == OWN


def load(name: str, folder: Path = FOLDER) -> RowSource:
    """Read a file of `sql/`.

    Args:
        name: Of the file, without its suffix.
        folder: Where the files are.

    Returns:
        What it says.

    Raises:
        HeimdallError: There is no such file, or it has not one SELECT for each heading, of which
            `-- measurements` must be there, and receivers in it or in the file beside it.
    """
    path, pinned = folder / f"{name}.sql", folder / f"{name}.receivers.csv"
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        others = ", ".join(sorted(file.stem for file in folder.glob("*.sql"))) or "no file"
        remedy = f"Set snapshot.source in params.yaml to one that is there ({others}), or write {path}"
        raise HeimdallError(str(path), "snapshot.source names it, and it is missing", remedy) from None
    except UnicodeDecodeError:
        raise HeimdallError(str(path), "not UTF-8 text", "Save it as UTF-8") from None
    headings = list(_HEADING.finditer(text))
    names = [heading[1] for heading in headings]
    if "measurements" not in names or len(set(names)) < len(names):
        cause = "it needs one line `-- measurements` above a SELECT, and may have one `-- receivers`"
        raise HeimdallError(str(path), cause, "Write it like sql/own.sql")
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    parts = {
        heading[1]: _statement(text[heading.end() : end], path, heading[1])
        for heading, end in zip(headings, ends, strict=True)
    }
    if "receivers" not in parts and not pinned.is_file():
        cause = f"it has no `-- receivers`, and there is no file {pinned}"
        remedy = "Write that file with the columns number, name, latitude, longitude, altitude_m, from, until"
        raise HeimdallError(str(path), cause, remedy)
    return RowSource(
        name=name,
        path=path,
        sha256=artifacts.sha256_bytes(content),
        measurements=parts["measurements"],
        receivers=parts.get("receivers"),
        pinned=pinned if pinned.is_file() else None,
    )


def tables_in(select: str) -> list[tuple[str, str]]:
    """Schema and name of each table or view that a SELECT names, as it writes them, in their order.

    Args:
        select: SQL. Parts of a WITH are no tables, nor are the system's catalogs, which everybody may read.

    Returns:
        Pairs; the schema is empty where the SELECT names none.
    """
    bare = _FROM_IN_FUNCTIONS.sub("", _NO_CODE.sub(" ", select))
    temporary = {name.lower() for name in _WITH.findall(bare)}
    named = dict.fromkeys(pair for listed in _TABLES.findall(bare) for pair in _AFTER_COMMA.findall(listed))
    return [
        (schema, name)
        for schema, name in named
        if (schema or name.lower() not in temporary)
        and schema != "information_schema"
        and not (schema or name).startswith("pg_")
    ]


def _statement(text: str, path: Path, heading: str) -> str:
    """One SELECT without the semicolon at its end."""
    statement = text.strip().removesuffix(";").strip()
    if not statement:
        raise HeimdallError(str(path), f"nothing stands below `-- {heading}`", "Write a SELECT there")
    return statement
