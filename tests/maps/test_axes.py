"""The base map under Matplotlib's axes: the same bytes every time, colours where land and sea are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heimdall.maps import axes as map_axes
from heimdall.maps import shores
from heimdall.maps.axes import Ground, Named

GENOA, TURIN, MILAN, AT_SEA = (44.5, 8.95), (45.07, 7.6), (45.4, 9.15), (44.0, 8.7)


def drawn(positions: list[tuple[float, float]]) -> tuple[Figure, Ground]:
    figure = Figure(figsize=(9, 5), dpi=100)
    axes = figure.add_axes((0.08, 0.08, 0.9, 0.9))
    named = [Named(one, f"receiver {number}") for number, one in enumerate(positions)]
    return figure, map_axes.draw(axes, positions, named, ratio=1.8)


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def rgb(colour: str) -> list[int]:
    return [round(255 * part) for part in colors.to_rgb(colour)]


def test_land_and_sea_have_their_colours() -> None:
    figure, ground = drawn([GENOA, TURIN, MILAN, AT_SEA])
    seen = pixels(figure)
    for place, colour in (((43.95, 8.9), map_axes.SEA), ((44.75, 8.1), map_axes.LAND)):
        x, y = ground.axes.transData.transform(np.concatenate(ground.at(*place)))
        # Around the point: a thin line may go through it.
        part = seen[seen.shape[0] - int(y) - 6 : seen.shape[0] - int(y) + 6, int(x) - 6 : int(x) + 6]
        shares = (part == rgb(colour)).all(axis=-1).mean()
        assert shares > 0.5, place


def test_the_same_map_has_the_same_bytes_with_and_without_the_finest_shores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = png(drawn([GENOA, TURIN, MILAN])[0])
    assert first == png(drawn([GENOA, TURIN, MILAN])[0])
    real = shores._path
    monkeypatch.setattr(
        shores,
        "_path",
        lambda name, of: real(name, of).with_name("none" if of in "hf" else real(name, of).name),
    )
    assert first == png(drawn([GENOA, TURIN, MILAN])[0])


@pytest.mark.parametrize(
    "places", [[(-17.0, 179.5), (-17.5, -179.5)], [(89.0, 10.0), (88.0, -170.0)], [GENOA]]
)
def test_every_place_is_on_its_map(places: list[tuple[float, float]]) -> None:
    _, ground = drawn(places)
    east, north = ground.at(*zip(*places, strict=True))
    assert ((ground.box.west_m < east) & (east < ground.box.east_m)).all()
    assert ((ground.box.south_m < north) & (north < ground.box.north_m)).all()
    assert ground.box.wider_m < 1e6


def test_the_sides_have_degrees_and_the_corner_a_scale() -> None:
    figure, ground = drawn([GENOA, TURIN, MILAN])
    names = [label.get_text() for label in ground.axes.get_xticklabels()]
    assert "8.5°E" in names
    assert "45.0°N" in [label.get_text() for label in ground.axes.get_yticklabels()]
    said = {text.get_text() for text in figure.findobj(match=lambda one: hasattr(one, "get_text"))}
    assert {"receiver 0", "receiver 1", "receiver 2"} <= said
    assert any(one.endswith(" km") for one in said)


def test_an_ellipse_is_as_wide_as_its_covariance_says() -> None:
    _, ground = drawn([GENOA, TURIN, MILAN])
    east, north = ground.ellipse(TURIN, np.diag([9e6, 1e6]), 2.0)
    assert np.ptp(east) == pytest.approx(12_000, rel=0.01)
    assert np.ptp(north) == pytest.approx(4_000, rel=0.02)
