"""Where the rows of a snapshot come from: a file of `sql/` with a SELECT of measurements, one of receivers.

`snapshot.source` in params.yaml names the file. A line `-- measurements` or `-- receivers` begins a SELECT. A
file `sql/NAME.receivers.csv` beside it takes the place of the second one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError

FOLDER = Path("sql")
OWN = "own"
_PARTS = ("measurements", "receivers")
_TOKENS = re.compile(
    r"--[^\n]*|(?P<comment>/\*)"
    r"|[eE]'(?:\\.|''|[^'\\])*'|(?:[uU]&|[bBxXnN])?'(?:''|[^'])*'"
    r"|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
    r'|(?P<name>(?:[uU]&)?"(?:""|[^"])*"|[^\W\d][\w$]*)'
    r"|(?P<sign>\d[\w.]*|\S)",
    re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")
# After these words of a SELECT no table follows, until the next FROM.
_ENDS_FROM = re.compile(
    "SELECT|WHERE|GROUP|HAVING|WINDOW|UNION|INTERSECT|EXCEPT|ORDER|LIMIT|OFFSET|FETCH|FOR|VALUES"
)
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
    found: dict[tuple[str, str], None] = {}
    tokens = [*_tokens(select), "", "", "", ""]
    levels = [_Level()]
    place = 0
    while tokens[place]:
        now, level = tokens[place], levels[-1]
        place += 1
        if now == "(":
            levels.append(level.inner())
        elif now == ")" and len(levels) > 1:
            part = levels.pop().part
            levels[-1].parts |= {part}
        elif tokens[place - 2] == "." or level.take_keyword(now.upper(), before=tokens[place - 2].upper()):
            continue  # a column of any name, or a keyword
        elif part := _part_of_with(tokens, place - 1):
            level.next_part = part
            level.parts |= {part} if level.is_recursive else set()
        elif level.awaits_table and _is_name(now):
            level.awaits_table = False
            names = [now]
            while tokens[place] == "." and _is_name(tokens[place + 1]):
                names.append(tokens[place + 1])
                place += 2
            schema, name = ["", *names][-2:]
            is_part = not schema and any(folded(name) in one.parts for one in levels)
            is_system = schema == "information_schema" or (schema or name).startswith("pg_")
            is_function = tokens[place] == "(" or (now.upper(), tokens[place].upper()) == ("ROWS", "FROM")
            if not (is_part or is_system or is_function):
                found[schema, name] = None
    return list(found)


def folded(name: str) -> str:
    """A name as PostgreSQL stores it."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


@dataclass
class _Level:
    """What is known between two brackets of a SELECT.

    Attributes:
        in_from: Whether a comma separates tables.
        awaits_table: Whether the next name is a table's.
        part: The part of a WITH that stands here.
        next_part: That of the bracket that follows.
        in_select: Whether a SELECT has begun.
        is_recursive: Whether a part of its WITH may name itself.
        parts: Of its WITH, as far as they are known, by their folded names.
    """

    in_from: bool = False
    awaits_table: bool = False
    part: str = ""
    next_part: str = ""
    in_select: bool = False
    is_recursive: bool = False
    parts: frozenset[str] = frozenset()

    def inner(self) -> _Level:
        """That of a bracket which begins here."""
        begun = _Level(in_from=self.awaits_table, awaits_table=self.awaits_table, part=self.next_part)
        self.awaits_table, self.next_part = False, ""
        return begun

    def take_keyword(self, word: str, *, before: str) -> bool:
        """Whether a word, or a comma, is one that says what follows."""
        if word == ",":
            self.awaits_table = self.in_from
        elif word == "FROM":  # neither that of `extract(... FROM ...)` nor of IS DISTINCT FROM
            self.awaits_table = self.in_select and before != "DISTINCT"
            self.in_from = self.in_from or self.awaits_table
        elif word in ("JOIN", "TABLE"):
            self.awaits_table = self.in_from or word == "TABLE"
        elif _ENDS_FROM.fullmatch(word):
            self.in_from = self.awaits_table = False
            self.in_select = self.in_select or word == "SELECT"
        elif word == "RECURSIVE":
            self.is_recursive = True
        else:
            return word in ("LATERAL", "ONLY")
        return True


def _tokens(text: str) -> Iterator[str]:
    """Names, signs and numbers of SQL; neither comments nor texts."""
    place = 0
    while match := _TOKENS.search(text, place):
        place = match.end()
        if match["comment"]:
            depth = 1  # comments stand within comments
            while depth and (edge := _COMMENT.search(text, place)):
                depth, place = depth + (1 if edge[0] == "/*" else -1), edge.end()
        elif match["name"] or match["sign"]:
            yield match[0]


def _is_name(token: str) -> bool:
    return token[:1].isalpha() or token[:1] in ("_", '"')


def _part_of_with(tokens: list[str], place: int) -> str:
    """The part of a WITH of which the name stands here, folded; empty where there is none."""
    name = tokens[place]
    place += 1
    if tokens[place] == "(":  # names of its columns
        place = next((at + 1 for at in range(place, len(tokens)) if tokens[at] == ")"), place)
    words = [word.upper() for word in tokens[place : place + 5]]
    after = [word for word in words if word not in ("NOT", "MATERIALIZED")]
    is_part = after[:2] == ["AS", "("] and after[2] in ("SELECT", "WITH", "VALUES", "TABLE", "(")
    return folded(name) if is_part and _is_name(name) else ""


def _statement(text: str, path: Path, heading: str) -> str:
    """One SELECT without the semicolon at its end."""
    statement = text.strip().removesuffix(";").strip()
    if not statement:
        raise HeimdallError(str(path), f"nothing stands below `-- {heading}`", "Write a SELECT there")
    return statement
