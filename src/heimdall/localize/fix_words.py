"""Places, lengths and probabilities as people read them, and what is known of a transmitter in sentences."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heimdall.geometry import geo
from heimdall.localize.answer import Answer, Beside
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.multilateration.fix import Fix, Place, Velocity
from heimdall.pages.elements import Table, printable
from heimdall.pages.page import Data

SHOWN_SHARE = 0.01  # of another place
SURE = 0.999  # nobody knows more: a probability above it is never written as a number
_MAX_DIGITS = 7  # of a degree: 1 cm
_M_PER_DEGREE = 111_320.0
# Heights of a locator's cells in degrees, by the number of its characters (IARU Region 1, 1980).
_CELLS_DEG = {4: 1.0, 6: 1 / 24, 8: 1 / 240, 10: 1 / 5760}
_KINDS = {
    "position": "with a position",
    "ambiguous": "ambiguous",
    "region": "with a region alone",
    "nothing": "without an answer",
}
_SHOWN_REST = 0.005  # of the probability, that no place has
_SURE_ALTITUDE_M = 0.5  # an altitude with a smaller standard deviation was given
_NAMES = 8  # in a remark
_REMARKS = 5  # of separate events, the most frequent


def length(metres: float) -> str:
    """A length or a standard deviation, with two or three digits."""
    if metres < 9.95:
        return f"{metres:.1f} m"
    if metres < 999.5:
        return f"{metres:.0f} m"
    return f"{metres / 1e3:.1f} km" if metres < 99_950 else f"{metres / 1e3:,.0f} km"


def area(km2: float) -> str:
    """An area, with about three digits."""
    if km2 < 0.1:
        return f"{km2 * 1e6:,.0f} m²"
    decimals = max(0, 2 - math.floor(math.log10(km2)))
    return f"{km2:,.{decimals}f} km²"


def share(probability: float) -> str:
    """A probability in percent; never 100 %."""
    return f"> {SURE:.1%}".replace("%", " %") if probability > SURE else f"{100 * probability:.1f} %"


def digits(place: Place) -> int:
    """Decimals of degrees that a place deserves: the last is a third of its smaller sigma at most."""
    sigma_deg = min(sigma_m(place)) / _M_PER_DEGREE
    needed = math.ceil(-math.log10(sigma_deg / 3)) if sigma_deg > 0 else _MAX_DIGITS
    return min(max(needed, 1), _MAX_DIGITS)


def latitude_longitude(place: Place, decimals: int | None = None) -> tuple[str, str]:
    """Of a place, degrees, with so many digits, or with those that it deserves."""
    count = digits(place) if decimals is None else decimals
    return f"{place.latitude_deg:.{count}f}", f"{place.longitude_deg:.{count}f}"


def shown(fix: Fix) -> tuple[Place, ...]:
    """The likeliest place, and the others that have 1 % at least."""
    return fix.places[:1] + tuple(one for one in fix.places[1:] if one.probability >= SHOWN_SHARE)


def sigma_m(place: Place) -> tuple[float, float]:
    """Standard deviations to the east and to the north, metres."""
    return math.sqrt(place.covariance_m2[0, 0]), math.sqrt(place.covariance_m2[1, 1])


def locator(place: Place) -> str:
    """The Maidenhead locator, with as many of 4 to 10 characters as the standard deviation deserves."""
    count = max(
        (size for size, cell in _CELLS_DEG.items() if cell * _M_PER_DEGREE >= max(sigma_m(place)) / 4),
        default=4,
    )
    east = (place.longitude_deg + 180) % 360 / 20
    north = min((place.latitude_deg + 90) / 10, math.nextafter(18, 0))
    text = ""
    for first, base in (("A", 18), ("0", 10), ("a", 24), ("0", 10), ("a", 24))[: count // 2]:
        cells = min(int(east), base - 1), min(int(north), base - 1)
        text += "".join(chr(ord(first) + cell) for cell in cells)
        following = 10 if first != "0" else 24
        east, north = (east - cells[0]) * following, (north - cells[1]) * following
    return text


def where(place: Place) -> str:
    """A place in a few words, which maps and amateurs take."""
    return f"{', '.join(latitude_longitude(place))} (latitude, longitude), locator {locator(place)}"


def deviation(place: Place) -> str:
    """How sure a place is, in a few words."""
    east, north = map(length, sigma_m(place))
    return f"standard deviation {east} to the east and {north} to the north"


def spread(place: Place) -> str:
    """How sure a place is: its standard deviations and its 95 % ellipse."""
    ellipse = ellipse_95(place.covariance_m2)
    return (
        f"{deviation(place)}; the 95 % ellipse has semi-axes of {length(ellipse.major_m)} and "
        f"{length(ellipse.minor_m)}, the longer one at {ellipse.azimuth_deg:.0f}° clockwise from north"
    )


def sentences(answer: Answer, fix: Fix) -> list[str]:
    """What is known of the transmitter by one of the answers, the most important first."""
    said = [*_headline(fix)]
    if fix.regions:
        areas = [f"of {area(one.area_km2)} with {100 * one.probability:.0f} %" for one in fix.regions]
        said.append(f"It is within a region {' and '.join(areas)} probability.")
    if fix.places and fix.places[0].altitude_sigma_m > _SURE_ALTITUDE_M:
        best = fix.places[0]
        said.append(
            f"Its altitude is {best.altitude_m:,.0f} m above the ellipsoid, standard deviation "
            f"{length(best.altitude_sigma_m)}."
        )
    elif fix.places and fix.places[0].altitude_m != 0:
        said.append(f"It is taken to be {fix.places[0].altitude_m:,.0f} m above the ellipsoid.")
    if fix.places and not fix.consistent:
        said.append("Its times do not fit together within their standard deviations: it may be elsewhere.")
    if fix.events > 1:
        said.append(f"This is the answer of {fix.events} events together.")
    if fix.velocity is not None:
        said.append(_motion(fix.velocity))
    error_m = answer.error_m(fix)
    if error_m is not None:
        said.append(f"The true place is known, and {length(error_m)} away.")
    if answer.beside is not None and fix is answer.main:
        said.append(_model(answer.beside, fix, several=bool(answer.beside_each)))
    return said


def whereabouts(places: Sequence[Place], how: str = "") -> list[str]:
    """Where a model has the transmitter, the answer first, in sentences.

    Args:
        places: The answer and what else is likely; at least one.
        how: What stands behind the place, such as ", by the method fusion".
    """
    best, *others = places
    alone = not others or best.probability >= max(0.5, *(one.probability for one in others))
    if alone:
        said = [f"The transmitter is at {where(best)}{how}."]
    else:
        said = [
            "There is no single position: several places explain it. Least far from all of them is "
            f"{where(best)} ({share(best.probability)}){how}."
        ]
    said.append(f"{spread(best).capitalize()}.")
    if others:
        rest = " or ".join(f"{where(place)} ({share(place.probability)})" for place in others)
        said.append(f"It may also be at {rest}.")
    return said


def _headline(fix: Fix) -> list[str]:
    if fix.kind == "nothing" or not fix.places:
        return ["Nothing can be said of where the transmitter is."]
    best = fix.places[0]
    if fix.kind == "position":
        return [
            f"The transmitter is at {where(best)}.",
            f"{spread(best).capitalize()}.",
            f"The probability of this place, against all others, is {share(best.probability)}.",
        ]
    if fix.kind == "ambiguous":
        return [*_several(shown(fix)), *_elsewhere(shown(fix))]
    return [
        "Where the transmitter is, is known only roughly: there is a region for it, and no single position.",
        f"The likeliest point of it is {where(best)}: {deviation(best)}.",
    ]


def _several(places: Sequence[Place]) -> list[str]:
    best = places[0]
    how = f"{where(best)}: {spread(best)}."
    if len(places) == 1:
        return [f"The transmitter may be here, with {share(best.probability)} probability: {how}"]
    return [
        f"The transmitter may be at one of {len(places)} places: what is known does not tell at which.",
        f"The likeliest, with {share(best.probability)} probability, is {how}",
    ]


def _elsewhere(places: Sequence[Place]) -> list[str]:
    rest = 1 - sum(place.probability for place in places)
    where_else = "at none of them" if len(places) > 1 else "somewhere else"
    return [f"With {share(rest)} probability it is {where_else}."] if rest > _SHOWN_REST else []


def _motion(velocity: Velocity) -> str:
    vector = np.array([velocity.east_m_s, velocity.north_m_s])
    speed_m_s = float(np.hypot(*vector))
    toward = vector / speed_m_s if speed_m_s > 0 else np.array([1.0, 0.0])
    sigma_m_s = math.sqrt(float(toward @ velocity.covariance_m2_s2 @ toward))
    how = f"{speed_m_s:.1f} m/s, standard deviation {sigma_m_s:.1f} m/s"
    if speed_m_s < 2 * sigma_m_s:
        return f"Whether it moves cannot be told: {how}."
    return f"It moves at {how}, toward {math.degrees(math.atan2(*vector)) % 360:.0f}° clockwise from north."


def _model(beside: Beside, fix: Fix, *, several: bool) -> str:
    name, remark = printable(beside.name), printable(beside.remark)
    each = "its answers for the others stand in the table of events"
    why = "; ".join(filter(None, [remark, each if several else ""]))
    why = f": {why}" if why else ""
    if beside.place is None:
        return f"The trained model {name} does not say where it is{why}."
    said = f"The trained model {name} has it at {where(beside.place)}, {deviation(beside.place)}"
    if fix.places:
        ends = (fix.places[0], beside.place)
        degrees_of = [value for one in ends for value in (one.latitude_deg, one.longitude_deg)]
        said += f", {length(float(geo.distance_m(*degrees_of)[0]))} from there"
    return f"{said}{why}."


def remarks(fix: Fix) -> list[str]:
    """What is known and what is not, as sentences; one sentence for what is the same of several receivers."""
    return [_sentence(names, said) for said, names in _by_remark(_remarks(fix)).items()]


def _remarks(fix: Fix) -> list[tuple[str, str]]:
    """The remarks, each with the receiver of which it is said, or ""."""
    names = sorted((printable(one.receiver) for one in fix.residuals), key=len, reverse=True)
    found = []
    for one in map(printable, fix.remarks):
        name = next((name for name in names if one.startswith(f"{name}: ")), "")
        of_a_receiver = name or one.startswith(tuple(names))
        said = one.removeprefix(f"{name}: ") if name else one
        found.append((name, said if of_a_receiver else f"{said[:1].upper()}{said[1:]}"))
    return found


def _by_remark(said: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The receivers of which a remark is said, by the remark."""
    names: dict[str, list[str]] = {}
    for name, remark in said:
        names.setdefault(remark, []).append(name)
    return names


def _sentence(names: Sequence[str], said: str) -> str:
    shown = ", ".join(names[:_NAMES]) + (f" and {more} more" if (more := len(names) - _NAMES) > 0 else "")
    return f"{shown}: {said}." if shown else f"{said}."


def places(fix: Fix) -> Table:
    """The places of an answer that are shown, the likeliest first."""
    headings = ("probability", "latitude", "longitude", "locator", "sigma E x N", "95 % ellipse", "azimuth")
    rows = []
    for one in shown(fix):
        ellipse = ellipse_95(one.covariance_m2)
        rows.append(
            (
                share(one.probability),
                *latitude_longitude(one),
                locator(one),
                " x ".join(map(length, sigma_m(one))),
                f"{length(ellipse.major_m)} x {length(ellipse.minor_m)}",
                f"{ellipse.azimuth_deg:.0f}°",
            )
        )
    sizes = [(max(sigma_m(one)), ellipse_95(one.covariance_m2).major_m) for one in shown(fix)]
    keys = {4: [size for size, _ in sizes], 5: [size for _, size in sizes]}
    return Table(headings, tuple(rows), "rrrlrrr", keys)


def residuals(fix: Fix) -> Table:
    """What each receiver's arrival time says of the likeliest place."""
    sigma_s = [one.sigma_s for one in fix.residuals if np.isfinite(one.sigma_s)]
    unit, scale = _unit(float(np.median(sigma_s))) if sigma_s else ("us", 1e6)
    decimals = 2 if sigma_s and min(sigma_s) * scale < 1 else 1

    def time(value_s: float) -> str:
        rounded = round(value_s * scale, decimals) + 0.0  # no -0.0
        return f"{rounded:,.{decimals}f}" if np.isfinite(value_s) else ""

    def verdict(reason: str, used: bool) -> str:
        return "used" if used else f"not used: {printable(reason)}" if reason else "not used"

    rows = tuple(
        (
            printable(one.receiver),
            time(one.residual_s),
            time(one.sigma_s),
            verdict(one.reason, one.used),
        )
        for one in fix.residuals
    )
    return Table(("receiver", f"residual, {unit}", f"sigma, {unit}", ""), rows, "lrrl")


def _unit(sigma_s: float) -> tuple[str, float]:
    if sigma_s < 1e-6:
        return "ns", 1e9
    return ("us", 1e6) if sigma_s < 1e-3 else ("ms", 1e3)


def events(answer: Answer) -> Table:
    """A row for each event: its name, its place, how sure that is, and how wrong if that is known."""
    known = any(event.truth is not None for event in answer.events)
    model = ("model",) if answer.beside_each else ()
    headings = ("event", "latitude", "longitude", "sigma E x N", *(("error",) if known else ()), *model, "")
    # In a column of numbers all have the digits that most deserve.
    decimals = statistics.median_low([digits(fix.places[0]) for fix in answer.fixes if fix.places] or [1])
    rows = []
    sizes_m: list[float] = []
    errors_m: list[float] = []
    for number, fix in enumerate(answer.fixes):
        best = fix.places[:1]
        beside = [one.place for one in answer.beside_each[number : number + 1]]
        error_m = answer.error_m(fix)
        sizes_m.append(max(sigma_m(best[0])) if best else math.nan)
        errors_m.append(math.nan if error_m is None else error_m)
        flags = [] if fix.kind == "position" else [fix.kind]
        rows.append(
            (
                printable(fix.name),
                *(latitude_longitude(best[0], decimals) if best else ("", "")),
                " x ".join(map(length, sigma_m(best[0]))) if best else "",
                *(("" if error_m is None else length(error_m),) if known else ()),
                *("" if one is None else ", ".join(latitude_longitude(one)) for one in beside),
                ", ".join(flags if fix.consistent else [*flags, "inconsistent"]),
            )
        )
    keys = {3: sizes_m} | ({4: errors_m} if known else {})
    return Table(headings, tuple(rows), "lrrr" + "r" * known + "l" * len(model) + "l", keys)


def summary(answer: Answer) -> list[str]:
    """All events in a few sentences: how many have a position, how sure and how wrong they are."""
    kinds = [fix.kind for fix in answer.fixes]
    counts = [f"{kinds.count(kind)} {words}" for kind, words in _KINDS.items() if kind in kinds]
    inconsistent = sum(not fix.consistent for fix in answer.fixes)
    if inconsistent:
        counts.append(f"{inconsistent} with times that do not fit together")
    said = [f"{len(kinds)} events: {', '.join(counts)}.", *_apart(answer)]
    larger_m = [max(sigma_m(fix.places[0])) for fix in answer.fixes if fix.kind == "position"]
    if larger_m:
        said.append(
            f"The larger standard deviation of a position is {length(float(np.median(larger_m)))} in the "
            f"median and {length(max(larger_m))} at most."
        )
    errors_m = [error_m for fix in answer.fixes if (error_m := answer.error_m(fix)) is not None]
    if errors_m:
        said.append(f"The truth is known of {len(errors_m)}: the error is {_quantiles(errors_m)}.")
        said.append(_coverage(answer))
    return said


def _apart(answer: Answer) -> list[str]:
    """Why there is no answer of all events together; nothing where there is one."""
    if answer.main is not None:
        return []
    timed = [event for event in answer.events if np.isfinite(event.arrival_s).sum() > 1]
    for values, what in (
        ({event.transmitter for event in timed}, "of {} transmitters"),
        ({str(event.frequency_hz) for event in timed}, "at {} frequencies"),
    ):
        if len(values) > 1:
            return [f"They are {what.format(len(values))}: each has an answer of its own."]
    return ["There is no answer of all together: that needs two events with two arrival times."]


def _coverage(answer: Answer) -> str:
    """How often the regions hold the truth where it is known; an event without a region never does."""
    pairs = zip(answer.events, answer.fixes, strict=True)
    known = [(event.truth, fix) for event, fix in pairs if event.truth is not None]
    held = [
        region.probability
        for truth, fix in known
        for region in fix.regions
        if region.holds(truth.latitude_deg, truth.longitude_deg)
    ]
    of_68, of_95 = (f"{100 * held.count(probability) / len(known):.0f} %" for probability in (0.68, 0.95))
    return f"The regions of 68 % hold it in {of_68} of them, those of 95 % in {of_95}."


def _quantiles(errors_m: Sequence[float]) -> str:
    values: npt.NDArray[np.float64] = np.array(errors_m)
    median, ninth = (length(float(value)) for value in np.quantile(values, (0.5, 0.9)))
    return f"{median} in the median, below {ninth} in 90 % and {length(float(values.max()))} at most"


def common_remarks(answer: Answer) -> list[str]:
    """What is said of the separate events, the most frequent first, with the number of events."""
    counts = Counter(one for fix in answer.fixes for one in dict.fromkeys(_remarks(fix)))
    sentences = [
        f"{_sentence(names, remark)} ({count} of {len(answer.fixes)} events)"
        for count in sorted(set(counts.values()), reverse=True)
        for remark, names in _by_remark(one for one in counts if counts[one] == count).items()
    ]
    more = len(sentences) - _REMARKS
    told = [f"{more} more remark{'s' if more > 1 else ''}, which --json has."] if more > 0 else []
    return sentences[:_REMARKS] + told


def data(answer: Answer) -> Data:
    """Whether the recordings are simulated."""
    if answer.simulated is None:
        return "unknown"
    return "simulated" if answer.simulated else "recorded"


def provenance(answer: Answer) -> str:
    """What the recordings are, in a sentence; "" if nothing says it."""
    if answer.simulated is None:
        return ""
    return "The recordings are simulated." if answer.simulated else "The recordings are real."
