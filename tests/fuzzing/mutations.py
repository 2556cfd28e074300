"""How good input becomes odd input: blind changes of bytes, and changes of a number, a cell, a field."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Files = dict[str, bytes]  # by name; the first is the one that the reader is told
Edit = Callable[[Random, bytes], bytes]

WORDS = (0, 1, 2, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
LONG_WORDS = (*WORDS, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
# What a number, a name or a time in a text may become.
TEXTS = (
    *(
        "",
        " ",
        "0",
        "-0",
        "1",
        "-1",
        "0.0",
        "1.5",
        "1e3",
        "1E+3",
        "1e18",
        "1.4e+18",
        "1e300",
        "-1e300",
        "1e400",
    ),
    *(
        "1e-400",
        "5e-324",
        "nan",
        "NaN",
        "-nan",
        "inf",
        "Infinity",
        "-Infinity",
        ".inf",
        "-.inf",
        ".nan",
        "1e",
    ),
    *("255", "256", "1000000", "2147483647", "2147483648", "-2147483648", "4294967295", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616", "9" * 30),
    *(
        "9" * 5000,
        "0." + "0" * 500 + "1",
        "1e99999999",
        "-1e99999999",
        "1_000",
        "0x10",
        "0o17",
        "1,5",
        "1 000",
    ),
    *(
        "\u0661\u0662",
        "\u00b2",
        "\u2012",
        "+5",
        "--5",
        "5.",
        ".5",
        "5e",
        "true",
        "false",
        "null",
        "~",
        "None",
    ),
    *("yes", "no", "x", "NORTH", "north", "\u00e9", "\u202e", "\u2028", "\x1b[31m", "\x00", "\x07", "'", '"'),
    *(
        '"a\nb"',
        "a\nb",
        "a\r\nb",
        "\r",
        "a;b",
        "a,b",
        "=1+1",
        "../x",
        "/etc/passwd",
        "C:\\x",
        "%s",
        "{}",
        "#",
    ),
    *(
        "1970-01-01",
        "2026-13-45",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "0000-00-00T00:00:00Z",
    ),
    *("9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00:60Z", "2026-01-01T24:00:00Z", "294276-12-31Z"),
    *("2026-01-01T00:00:00", "infinity", "-infinity", "4713-01-01 BC", "12:00", "x" * 300, "y" * 150_000),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e300, -1e300, 1e-320, float("inf"), float("-inf"), float("nan")),
    *(
        2**31,
        2**53 + 1,
        2**63,
        2**64,
        -(2**63),
        10**30,
        10**400,
        "",
        " ",
        "x",
        "NaN",
        "1e400",
        "\u0000",
        "\ud800",
    ),
    *(
        "a\nb",
        "\u2028",
        "\x1b[31m",
        "x" * 300,
        "y" * 150_000,
        [],
        [[]],
        {},
        {"": None},
        [None],
        ["x"],
        [1, 2, 3],
    ),
    *(
        [1e400, -1e400],
        {"x": {"x": {}}},
        [0] * 1000,
        "2026-13-45T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "../x",
        "/",
    ),
)
NUMBER = re.compile(rb"[-+]?\d[\d.]*(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")


def flip(random: Random, content: bytes) -> bytes:
    """A few bits; in half of the cases all of them in the beginning, where headers are."""
    changed = bytearray(content)
    reach = len(changed) if random.random() < 0.5 else min(len(changed), 120)
    for _ in range(random.choice((1, 1, 2, 8))):
        if reach:
            changed[random.randrange(reach)] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random: Random, content: bytes) -> bytes:
    """The beginning, or without it."""
    at = (
        random.randrange(len(content) + 1)
        if random.random() < 0.5
        else random.randrange(min(len(content), 99) + 1)
    )
    return content[:at] if random.random() < 0.8 else content[at:]


def insert(random: Random, content: bytes) -> bytes:
    """Some bytes more."""
    at = random.randrange(len(content) + 1)
    more = random.choice(
        (random.randbytes(random.randrange(1, 20)), b"\0" * 300, b"\xff" * 7, b"\n", b"9" * 99)
    )
    return content[:at] + more + content[at:]


def cut_out(random: Random, content: bytes) -> bytes:
    """Some bytes less, or twice."""
    begin = random.randrange(len(content) + 1)
    end = min(len(content), begin + random.randrange(1, 200))
    times = random.choice((0, 0, 2, 3))
    return content[:begin] + content[begin:end] * times + content[end:]


def set_word(random: Random, content: bytes) -> bytes:
    """A binary number of 1 to 8 bytes, at a whole place of the beginning, becomes an extreme one."""
    size, code = random.choice(((1, "B"), (2, "H"), (4, "I"), (4, "I"), (8, "Q")))
    if len(content) < size:
        return content
    at = random.randrange(min(len(content) - size, 200) + 1) // size * size
    value = random.choice(LONG_WORDS) % 2 ** (8 * size)
    return content[:at] + struct.pack(random.choice("<>") + code, value) + content[at + size :]


def number(random: Random, content: bytes) -> bytes:
    """A number in a text becomes another text."""
    return _replaced(random, content, NUMBER)


def word(random: Random, content: bytes) -> bytes:
    """A word in a text becomes another text."""
    return _replaced(random, content, WORD)


def line(random: Random, content: bytes) -> bytes:
    """A line of a text is doubled, deleted or put elsewhere, or all end otherwise."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    kind, at = random.randrange(4), random.randrange(len(lines))
    if kind == 3:
        return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\x0b")))
    moved = lines[at]
    if kind:
        del lines[at]
    if kind != 1:
        lines.insert(random.randrange(len(lines) + 1), moved)
    return b"".join(lines)


def encoding(random: Random, content: bytes) -> bytes:
    """The text in another encoding, or with a mark of one."""
    text = content.decode("utf-8", "replace")
    name = random.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32", "utf-16-be", "cp037"))
    return text.encode(name, "replace")


def cell(random: Random, content: bytes) -> bytes:
    """A cell of a table with commas becomes another text."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    cells = lines[at].split(b",")
    odd = random.choice(TEXTS)
    quoted = f'"{odd}"' if random.random() < 0.3 else odd
    cells[random.randrange(len(cells))] = quoted.encode("utf-8", "surrogatepass")
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def value(random: Random, content: bytes) -> bytes:
    """A value anywhere in a document of JSON becomes another one, is deleted, or stands twice."""
    try:
        document = json.loads(content)
    except ValueError:
        return number(random, content)
    places = list(_places(document))
    if not places:
        return content
    holder, key = random.choice(places)
    if random.random() < 0.15:
        del holder[key]
    elif isinstance(holder, list) and random.random() < 0.3:
        holder.insert(random.randrange(len(holder) + 1), holder[key])
    else:
        holder[key] = random.choice(VALUES)
    return json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(document: object) -> Sequence[tuple[Any, Any]]:
    keys: list[Any] = []
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = list(range(len(document)))
    found: list[tuple[Any, Any]] = [(document, key) for key in keys]
    for key in keys:
        found += _places(document[key])  # type: ignore[index]
    return found


def chunk(random: Random, content: bytes) -> bytes:
    """The name, the size, or a number in the body of a chunk of RIFF becomes an extreme one."""
    starts, at = [], 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        starts.append((at, min(size, len(content) - at - 8)))
        at += 8 + size + size % 2
    if not starts:
        return set_word(random, content)
    at, size = random.choice(starts[:6] if random.random() < 0.5 else starts)
    if random.random() < 0.3 or size < 2:
        odd = struct.pack("<I", random.choice((*WORDS, size - 1, size + 1, size + 2)) % 2**32)
        return content[: at + 4] + odd + content[at + 8 :]
    if random.random() < 0.2:
        name = random.choice((b"data", b"fmt ", b"kiwi", b"auxi", b"ds64", b"LIST", b"\0\0\0\0"))
        return content[:at] + name + content[at + 4 :]
    width = random.choice([one for one in (1, 2, 4, 8) if one <= size])
    place = at + 8 + random.randrange(min(size, 64) // width) * width
    odd = (random.choice(LONG_WORDS) % 2 ** (8 * width)).to_bytes(width, "little")
    return content[:place] + odd + content[place + width :]


def splice(random: Random, one: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    at = random.randrange(len(one) + 1)
    back = random.randrange(len(other) + 1) if random.random() < 0.5 else max(0, len(other) - at)
    return one[:at] + other[len(other) - back :]


def name(random: Random, files: Files) -> Files:
    """The file that the reader is told, and those beside it, under another name with the same end."""
    stem = random.choice(
        (
            *("x", "..", "-x", "20261399T999999Z_0_x_iq", "20171127T104156Z_99999999999999999999_N_iq"),
            *("gqrx_20260101_000000_0_0_fc", "gqrx_99999999_999999_9999999999999999999_99999999999999_fc"),
            *(
                "x_99999999999999999999GHz_1e9sps",
                "a_2MSps_0Hz",
                "00010101_000000",
                "99991231T235959.999999999Z",
            ),
            *("\u00e9\u2028", "a b\tc", "a\nb", "\udcff", "N" * 200, "x_7.1MHz_8kSps_9kSps", "\x1b[31mx"),
        )
    )
    first = next(iter(files)).partition(".")[0]
    return {stem + one.removeprefix(first): content for one, content in files.items()}


def _replaced(random: Random, content: bytes, pattern: re.Pattern[bytes]) -> bytes:
    found = list(pattern.finditer(content[:200_000]))
    if not found:
        return content
    match = random.choice(found)
    odd = random.choice(TEXTS).encode("utf-8", "surrogatepass")
    return content[: match.start()] + odd + content[match.end() :]


BLIND: tuple[Edit, ...] = (flip, truncate, insert, cut_out, set_word)
OF_TEXT: tuple[Edit, ...] = (number, number, word, line, encoding, flip, insert, cut_out, truncate)
