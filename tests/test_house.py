"""What no room's tests see: names that stand in strings, and code that no test imports."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.conftest import FIRST

BENCHMARKS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


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


STARTERS = re.compile(
    r"(subprocess|os|asyncio|pty|multiprocessing)\."
    r"(run|call|check_call|check_output|getoutput|getstatusoutput|Popen|exec\w+|spawn\w*|posix_spawn\w*"
    r"|system|popen|fork|forkpty|startfile|create_subprocess_\w+)"
)
# Those that take an environment.
TOLD = {"subprocess.run", "subprocess.Popen", "os.execve"}
PROGRAMS = [path for name in ("src/heimdall", "stages") for path in sorted((REPOSITORY / name).rglob("*.py"))]


def starts(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call that starts a process, by its name."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [(ast.unparse(call.func), call) for call in calls]
    return [(name, call) for name, call in named if STARTERS.fullmatch(name)]


def ungiven(text: str) -> list[str]:
    """What is wrong with the calls of a module that start processes."""
    tree = ast.parse(text)
    wrong = [
        f"from {node.module} import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "pty")
    ]
    for name, call in starts(tree):
        given = [word.value for word in call.keywords if word.arg == "env"] + call.args[2:3] * (
            name == "os.execve"
        )
        if name not in TOLD or not given or "os.environ" in ast.unparse(given[0]):
            wrong.append(f"line {call.lineno}: {name}")
    return wrong


def test_every_process_that_is_started_is_given_an_environment() -> None:
    found = {str(path.relative_to(REPOSITORY)): ungiven(path.read_text("utf-8")) for path in PROGRAMS}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
    assert sum(len(starts(ast.parse(path.read_text("utf-8")))) for path in PROGRAMS) > 10


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(['a'])",
        "subprocess.Popen(['a'], env=os.environ)",
        "subprocess.run(['a'], env={**os.environ})",
        "subprocess.check_output(['a'], env=child.environment())",
        "os.system('a')",
        "os.fork()",
        "os.execvp('a', ['a'])",
        "os.execve('a', ['a'], dict(os.environ))",
        "from subprocess import run",
    ],
)
def test_a_process_that_inherits_everything_is_found(code: str) -> None:
    assert ungiven(code)


def test_the_whole_environment_of_a_process_is_passed_on_by_one_module() -> None:
    """Only the home of children's environments copies it."""
    whole = re.compile(
        r"\*\*os\.environ|dict\(os\.environ|os\.environ\.(copy|items)\(|os\.environ \||\(os\.environ\)"
    )
    users = {
        path.relative_to(REPOSITORY / "src/heimdall").as_posix()
        for path in PROGRAMS
        if path.is_relative_to(REPOSITORY / "src") and whole.search(path.read_text("utf-8"))
    }
    assert users == {"core/child.py", "core/determinism.py"}
