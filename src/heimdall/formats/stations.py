"""Which receiver made which file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, plain
from heimdall.formats.receivers_file import Site

_REMEDY = "Rename the file, write NAME=FILE, or give the place of its receiver: --receiver NAME,LAT,LON,ALT"


def assign(files: Sequence[str], named: Sequence[Site], listed: Sequence[Site]) -> dict[Path, Site]:
    """The receiver of each file.

    It is the one of `NAME=FILE`; else the station that a KiwiSDR client wrote between the frequency and
    `_iq`; else the longest name that stands between separators in the file's name. The station that the file
    names is never taken for another one, though its name may contain that one's.

    Args:
        files: Paths, or `NAME=FILE`.
        named: Receivers that the user named one by one; they win over those of the same name in `listed`.
        listed: Receivers of a file.

    Returns:
        Receiver by file, in the order given.

    Raises:
        HeimdallError: A file has none, or is given twice.
    """
    known = {site.name: site for site in (*listed, *named)}
    assigned: dict[Path, Site] = {}
    for text in files:
        name, separator, rest = text.partition("=")
        path, site = (Path(rest), known[name]) if separator and name in known else (Path(text), None)
        site = site or _by_name(path, known)
        if path in assigned:
            raise HeimdallError(str(path), "the file is given twice", "Name each file once")
        assigned[path] = site
    return assigned


def _by_name(path: Path, known: dict[str, Site]) -> Site:
    station = plain.named_receiver(path) or file_names.parse(path).station
    if station:
        wanted = file_names.composed(station)
        same = [name for name in known if file_names.composed(name) == wanted]
        alike = [name for name in known if file_names.composed(name).casefold() == wanted.casefold()]
        name = next((found[0] for found in (same, alike) if len(found) == 1), None)
    else:
        name = file_names.station_of(path, known)
    if name:
        return known[name]
    cause = "its name does not have the name of exactly one receiver between separators"
    if station:
        cause = f"it is of station {station}, whose place is not given"
    raise HeimdallError(str(path), cause, _REMEDY)
