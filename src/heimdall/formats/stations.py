"""Which receiver made which file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, plain, sidecar, sigmf_files
from heimdall.formats.receivers_file import Site
from heimdall.recordings import limits

_REMEDY = (
    "Rename the file, write NAME=FILE, or give the place of its receiver in the file of --receivers, or by "
    "--receiver NAME,LAT,LON,ALT"
)


def assign(files: Sequence[str], named: Sequence[Site], listed: Sequence[Site]) -> dict[Path, Site]:
    """The receiver of each file.

    It is the one of `NAME=FILE`; else the station that a KiwiSDR client wrote between the frequency and
    `_iq`; else the longest name that stands between separators in the file's name. The station that the file
    names is never taken for another one, though its name may contain that one's. A SigMF file that is none of
    a known receiver, and says a place, is of the receiver NAME, or else of its own name, at that place.

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
    whole = set(files)  # the metadata of a SigMF recording and its data are one
    data, meta = sigmf_files.DATA, sigmf_files.META
    files = [text for text in files if not (text.endswith(data) and text.removesuffix(data) + meta in whole)]
    own: dict[tuple[float, float, float], Site] = {}
    for text in files:
        name, separator, rest = text.partition("=")
        path, site = (Path(rest), known[name]) if separator and name in known else (Path(text), None)
        if site is None and separator and sigmf_files.is_sigmf(path) and not path.exists():
            path, site = Path(rest), _own_place(Path(rest), name)
        if site is None and separator and name and not path.exists() and Path(rest).exists():
            remedy = "Call it as the file of receivers does, or add it there"
            raise HeimdallError(text, f"no receiver is called {name}", remedy)
        site = site or _by_name(path, known)
        if limits.receiver_name(site.name) != site.name:
            said = ascii(site.name)[:60]
            raise HeimdallError(ascii(text)[:200], f"{said} is no name that a person can read", _REMEDY)
        if path in assigned:
            raise HeimdallError(str(path), "the file is given twice", "Name each file once")
        other = own.setdefault((site.latitude_deg, site.longitude_deg, site.altitude_m), site)
        if other.name != site.name and site.name not in known:
            cause = f"its receiver {site.name} stands where {other.name} stands"
            raise HeimdallError(str(path), cause, f"Write {other.name}={path} if they are one receiver")
        assigned[path] = site
    return assigned


def _own_place(path: Path, name: str) -> Site | None:
    """A receiver of this name at the place that a SigMF file itself says; None if it says none."""
    place = sigmf_files.place(path) if sigmf_files.is_sigmf(path) else None
    if place is None:
        return None
    latitude_deg, longitude_deg, altitude_m = place
    return Site(name, latitude_deg, longitude_deg, altitude_m or 0.0, altitude_known=altitude_m is not None)


def _of_sidecar(path: Path) -> str | None:
    """The receiver that the .json beside a raw, `.npy` or WAV file names; a KiwiSDR's own name says its."""
    kiwi = file_names.parse(path).station is not None
    plainly = path.suffix.lower() in (".npy", ".wav") or plain.raw_type(path, None) is not None
    return sidecar.read(path).receiver if plainly and not kiwi else None


def _by_name(path: Path, known: dict[str, Site]) -> Site:
    if path.is_dir():
        raise HeimdallError(str(path), "is a folder", "Name the files in it")
    if not path.exists() and any(letter in path.name for letter in "*?"):
        raise HeimdallError(str(path), "there is no such file", "Check the pattern and the folder")
    station = _of_sidecar(path) or file_names.parse(path).station
    if station:
        wanted = file_names.composed(station)
        same = [name for name in known if file_names.composed(name) == wanted]
        alike = [name for name in known if file_names.composed(name).casefold() == wanted.casefold()]
        name = next((found[0] for found in (same, alike) if len(found) == 1), None)
    else:
        name = file_names.station_of(path, known)
    if name:
        return known[name]
    site = _own_place(path, path.stem)
    if site:
        return site
    cause = "its name does not have the name of exactly one receiver between separators"
    if station:
        cause = f"it is of station {station}, whose place is not given"
    raise HeimdallError(str(path), cause, _REMEDY)
