"""Documents point at what is there: links, files, modules, and the rooms as they are."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import grimp
import pytest

import heimdall
from tests import REPOSITORY

DOCS = REPOSITORY / "docs"
PACKAGE = REPOSITORY / "src" / "heimdall"
DOCUMENTS = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))]
HISTORY = DOCS / "log.md"  # keeps the names of its time
CURRENT = [document for document in DOCUMENTS if document != HISTORY]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"\b(?:src/heimdall|tests|stages|benchmarks|docs|\.github)/[\w./-]*\w")
MODULE = re.compile(r"\bheimdall(?:\.[a-z_]\w*)+")
ROW = re.compile(r"^\| (\d+) \| `([\w/]+)` \| .+ \|(.*)\|$", re.MULTILINE)


def names(documents: list[Path]) -> list[str]:
    return [str(document.relative_to(REPOSITORY)) for document in documents]


def anchors(document: Path) -> set[str]:
    """Headings as GitHub names them in addresses."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_relative_link_resolves(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert target.is_relative_to(REPOSITORY), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("document", CURRENT, ids=names(CURRENT))
def test_every_file_and_module_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for file in FILE.findall(text):
        assert list(REPOSITORY.glob(file)), file
    for name in MODULE.findall(text):
        own = name.removeprefix("heimdall.")
        if own in heimdall.__all__ or own in {"record", "localizer", "outputs"}:  # tags in MLflow
            continue
        module = importlib.util.find_spec(name.rpartition(".")[0])
        assert module is not None, name
        assert importlib.util.find_spec(name) is not None, name


def test_the_index_lists_every_document_once() -> None:
    listed = re.findall(r"^\| \[[^\]]*\]\(([^)]+)\)", (DOCS / "README.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(file.name for file in DOCS.glob("*.md") if file.name != "README.md")


def test_the_readme_shows_the_rooms_with_their_first_lines() -> None:
    def first_line(file: Path) -> str:
        return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0]

    rooms = sorted(file.parent for file in PACKAGE.glob("*/__init__.py"))
    lines = []
    for room in rooms:
        lines.append(f"{room.name + '/':<17}{first_line(room / '__init__.py')}")
        lines += [
            f"  {inner.parent.name + '/':<15}{first_line(inner)}"
            for inner in sorted(room.glob("*/__init__.py"))
            if room.name == "pipeline"
        ]
    picture = "\n".join(lines)
    assert f"```\n{picture}\n```" in (REPOSITORY / "README.md").read_text(encoding="utf-8"), picture


def room_of(module: str) -> str | None:
    """The room of a module: `heimdall.pipeline.train.training` is in pipeline/train."""
    parts = module.split(".")[1:]
    if parts[:1] == ["pipeline"]:
        return "/".join(parts[:2]) if len(parts) > 1 else None
    return parts[0] if parts and parts[0] != "__main__" else None


def test_the_map_has_every_room_in_its_layer_with_what_it_imports() -> None:
    found = ROW.findall((DOCS / "architecture.md").read_text(encoding="utf-8"))
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contract, stages = settings["tool"]["importlinter"]["contracts"]
    expected = {}
    for height, layer in enumerate(reversed(contract["layers"]), 1):
        for room in layer.split(" | "):
            inner = [stage for each in stages["layers"] for stage in each.split(" | ")]
            expected |= (
                {f"pipeline/{stage}": height for stage in inner} if room == "pipeline" else {room: height}
            )
    assert {room: int(height) for height, room, _ in found} == expected
    assert [int(height) for height, _, _ in found] == sorted(expected.values(), reverse=True)

    graph = grimp.build_graph("heimdall", cache_dir=None)
    imports: dict[str, set[str]] = {room: set() for room in expected}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            above, below = room_of(module), room_of(imported)
            if above and below and above != below:
                imports[above].add(below)
    for _, room, written in found:
        if room != "commands":
            assert set(re.findall(r"`([\w/]+)`", written)) == imports[room], (
                f"{room}: {sorted(imports[room])}"
            )


def test_params_yaml_points_at_a_section_that_is_there() -> None:
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    for section in re.findall(r'README, "([^"]+)"', text):
        assert f"\n## {section}\n" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
