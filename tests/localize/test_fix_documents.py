"""The page about answers names every field that is written."""

from __future__ import annotations

import re
from typing import Any

from heimdall.localize import fix_csv, fix_json
from tests import REPOSITORY
from tests.localize import answers

PAGE = (REPOSITORY / "docs" / "answers.md").read_text(encoding="utf-8")


def fields(value: Any) -> set[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return set(value) | {name for one in value.values() for name in fields(one)}
    return {name for one in value for name in fields(one)} if isinstance(value, list) else set()


def test_every_field_of_the_json_is_documented_and_no_other() -> None:
    written = set()
    for made in (answers.normal, answers.many_receivers, answers.seconds):
        written |= fields(fix_json.document(made()))
    section = PAGE[PAGE.index("\n## JSON") : PAGE.index("\n## CSV")]
    documented = set(re.findall(r"`([a-z_0-9]+)`", section)) - {"position", "all", "null"}
    assert documented | {"position"} == written


def test_every_column_of_the_csv_is_documented_in_its_order() -> None:
    section = PAGE[PAGE.index("\n## CSV") : PAGE.index("The position is the likeliest place")]
    assert tuple(re.findall(r"`([a-z_0-9]+)`", section)) == fix_csv.COLUMNS
