"""What no room's tests see: names that stand in strings, and code that no test imports."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.conftest import FIRST

BENCHMARKS = sorted((REPOSITORY / "benchmarks").glob("*.py"))
STARTERS = ("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output", "os.system")


def test_the_tests_that_begin_first_are_there() -> None:
    names = {file.stem for file in (REPOSITORY / "tests").rglob("test_*.py")}
    assert set(FIRST) <= names


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "heimdall":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_every_child_process_is_given_its_environment_by_name() -> None:
    """A child that inherits everything is told of services that it does not need (heimdall.core.child)."""
    bare = []
    for file in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in STARTERS
                and "env" not in {word.arg for word in node.keywords}
            ):
                bare.append(f"{file.relative_to(REPOSITORY)}:{node.lineno}")
    assert bare == []
