"""The text of a file that a person or a spreadsheet wrote, whatever its encoding."""

from __future__ import annotations

from pathlib import Path

from heimdall.core.errors import HeimdallError, unreadable

_SEPARATORS = ";\t,"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read(path: Path, max_bytes: int, what: str) -> str:
    """The text of a file: UTF-8 with or without a mark, UTF-16 with one, or else Windows-1252.

    Args:
        path: The file.
        max_bytes: Of a file that is accepted.
        what: What it should be, for messages.

    Raises:
        HeimdallError: It cannot be read, is larger, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > max_bytes:
        raise HeimdallError(str(path), f"larger than {max_bytes >> 20} MiB", f"Give {what}")
    for encoding in ("utf-16",) if content[:2] in _UTF_16 else ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise HeimdallError(str(path), "no text", "Save it as UTF-8")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is one of text: no samples begin with lines of printable characters."""
    if head[:2] in _UTF_16:
        return True
    try:
        text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the last character is cut
            return False
        text = head[: error.start].decode("utf-8-sig")
    return bool(text.strip()) and all(one.isprintable() or one in "\t\r\n" for one in text)


def separator_of(line: str) -> str:
    """What separates the columns of a table with this header: a semicolon, a tab or a comma."""
    return max(_SEPARATORS, key=line.count)
