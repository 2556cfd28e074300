"""Tables: aligned columns, cells as they were given, nothing at the ends of lines."""

from __future__ import annotations

from heimdall.core import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [["mean error, m", "< 30", "5733"], ["within 30 m", "> 90%", "6.5%"]]
    assert table.lines(["", "target", "localizer"], rows, "lrr") == [
        "               target  localizer",
        "mean error, m    < 30       5733",
        "within 30 m     > 90%       6.5%",
    ]


def test_no_cell_is_read_as_a_number() -> None:
    assert table.lines(["commit", "value"], [["1e5", "1.50"], ["0012", ""]]) == [
        "commit  value",
        "1e5     1.50",
        "0012",
    ]


def test_headings_alone_and_no_headings() -> None:
    assert table.lines(["version", "data"], []) == ["version  data"]
    assert table.lines(["", ""], [["a", "b"]]) == ["a  b"]


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert table.markdown(["", "n"], [["a|b", "1"]], "lr") == ["|  | n |", "| --- | ---: |", "| a\\|b | 1 |"]
