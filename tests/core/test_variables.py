"""Every environment variable is declared in one place, and docs/environment.md is what that place prints."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heimdall.core import determinism, variables
from heimdall.core.variables import Variable
from tests import REPOSITORY

SOURCES = sorted(
    [*(REPOSITORY / "src" / "heimdall").rglob("*.py"), *(REPOSITORY / "stages").glob("*.py")],
)
DECLARED = {variable.name for variable in variables.ALL}
NAME = re.compile(r"\b(?:HEIMDALL|AWS|MLFLOW)_[A-Z0-9_]*[A-Z0-9]\b")


def strings(tree: ast.AST) -> list[str]:
    """Every text in a module: messages, docstrings, names of variables."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def read_by_literal_name(tree: ast.AST) -> list[str]:
    """What is read as os.environ["NAME"], os.environ.get("NAME") or os.getenv("NAME")."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            whole, arguments = ast.unparse(node.value), [node.slice]
        elif isinstance(node, ast.Call):
            whole, arguments = ast.unparse(node.func), node.args[:1]
        else:
            continue
        if whole in ("os.environ", "os.environ.get", "os.getenv"):
            found += [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    return [str(name) for name in found]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_every_variable_that_the_code_names_is_declared(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = {name for text in strings(tree) for name in NAME.findall(text)}
    assert named <= DECLARED, "declare it in heimdall.core.variables"
    assert read_by_literal_name(tree) == [], "read it by heimdall.core.variables"


def test_a_variable_that_is_read_by_its_name_is_found() -> None:
    code = 'os.environ["A"]; os.environ.get("B", ""); os.getenv("C"); os.environ.get(D)'
    assert read_by_literal_name(ast.parse(code)) == ["A", "B", "C"]


def test_a_variable_is_declared_once_and_says_what_it_is_for() -> None:
    assert len(DECLARED) == len(variables.ALL)
    assert all(variable.meaning for variable in variables.ALL)
    for variable in variables.YOURS:
        assert variable.example, variable.name
        assert bool(variable.default) != bool(variable.otherwise), variable.name


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = Variable("HEIMDALL_OF_THIS_TEST", "nothing", default="usual")
    monkeypatch.delenv(variable.name, raising=False)
    assert variable.read() == "usual"
    monkeypatch.setenv(variable.name, "")
    assert variable.read() == "usual"
    monkeypatch.setenv(variable.name, "mine")
    assert variable.read() == "mine"


@pytest.mark.parametrize(
    ("value", "off"), [("off", True), ("OFF", True), ("0", True), ("on", False), ("", False)]
)
def test_off_is_said_in_several_ways(monkeypatch: pytest.MonkeyPatch, value: str, off: bool) -> None:
    monkeypatch.setenv(variables.TRACKING.name, value)
    assert variables.TRACKING.is_off() == off


def test_the_document_has_the_tables_that_the_declaration_prints() -> None:
    command = [sys.executable, "-m", "heimdall.core.variables"]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    document = (REPOSITORY / "docs" / "environment.md").read_text(encoding="utf-8")
    assert printed in document, (
        "put the output of `python -m heimdall.core.variables` into docs/environment.md"
    )
    for name in DECLARED | {setting.name for setting in determinism.settings(2)}:
        assert f"| `{name}` |" in printed


def test_the_declaration_imports_nothing_that_takes_time() -> None:
    code = "import sys; from heimdall.core import variables; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "lightning", "mlflow", "pandas", "numpy", "matplotlib", "yaml"}
