"""Which receiver made which file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names
from heimdall.formats.receivers_file import Site

_REMEDY = "Rename the file, write NAME=FILE, or give the place of its receiver: --receiver NAME,LAT,LON,ALT"


def assign(files: Sequence[str], named: Sequence[Site], listed: Sequence[Site]) -> dict[Path, Site]:
    """The receiver of each file.

    It is the one of `NAME=FILE`; else the station that a KiwiSDR client wrote between the frequency and
    `_iq`; else the longest name that stands between separators in the file's name, first among `named`.

    Args:
        files: Paths, or `NAME=FILE`.
        named: Receivers that the user named one by one; they win over those of the same name in `listed`.
        listed: Receivers of a file.

    Returns:
        Receiver by file, in the order given.

    Raises:
        HeimdallError: A file has none, or is given twice.
    """
    chosen = {site.name: site for site in named}
    known = {site.name: site for site in listed} | chosen
    assigned: dict[Path, Site] = {}
    for text in files:
        name, separator, rest = text.partition("=")
        path, site = (Path(rest), known[name]) if separator and name in known else (Path(text), None)
        site = site or _by_name(path, chosen, known)
        if path in assigned:
            raise HeimdallError(str(path), "the file is given twice", "Name each file once")
        assigned[path] = site
    return assigned


def _by_name(path: Path, chosen: dict[str, Site], known: dict[str, Site]) -> Site:
    station = file_names.parse(path).station
    if station in known:
        return known[station]
    names = (chosen,) if station else (chosen, known)  # another station than the one named is not guessed
    for sites in names:
        name = file_names.station_of(path, sites)
        if name:
            return sites[name]
    cause = "its name does not have the name of exactly one receiver between separators"
    if station:
        cause = f"it is of station {station}, whose place is not given"
    raise HeimdallError(str(path), cause, _REMEDY)
