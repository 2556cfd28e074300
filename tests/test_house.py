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


# Who passes services on to what it starts, and the rows of docs/environment.md about it, in the code's order.
PASSED_ON = {
    "stages/snapshot.py": ["stage `snapshot`"],
    **{
        f"stages/{name}.py": ["stages `simulate`, `featurize`, `evaluate`"]
        for name in ("simulate", "featurize", "evaluate")
    },
    "stages/export.py": ["stage `export`"],
    **{f"stages/{name}.py": ["stage `train`, `python stages/pretrain.py`"] for name in ("train", "pretrain")},
    "src/heimdall/api/features.py": ["the process that makes features for `HeimdallDataset`"],
    "src/heimdall/commands/train.py": ["stage `train`, `python stages/pretrain.py`"],
    "src/heimdall/compare/review.py": ["`heimdall review`: everything of a"],
    "src/heimdall/doctor/machine.py": ["git; "],
    "src/heimdall/pipeline/train/ranks.py": ["the other workers of a training", "its first worker"],
    "src/heimdall/reproduce/checks.py": ["git; "],
    "src/heimdall/reproduce/checkout.py": ["DVC of `heimdall verify`: `dvc pull`"],
    "src/heimdall/reproduce/git.py": ["git; "],
    "src/heimdall/reproduce/verify.py": [
        "`heimdall verify --source`: stage `snapshot` of a checked-out",
        "`heimdall verify`: the other stages",
    ],
    "src/heimdall/services/ray_node.py": ["the node that `heimdall cluster` starts"],
    "src/heimdall/sweep/experiments.py": ["DVC of a sweep |", "DVC of a sweep that pushes |"],
    "src/heimdall/track/own_process.py": ["the process that sends a training"],
    "src/heimdall/track/ui.py": ["`heimdall ui`"],
}
PASSING = re.compile(r"(?:(?:child|git|checkout)\.)?(?:bare_)?environment(?:_of_code)?|stage\.run")


def passed_on(text: str) -> list[tuple[bool, ...]]:
    """Whether a module's calls pass on PostgreSQL's address, S3, MLflow and Ray, in their order."""
    tree = ast.parse(text)
    found: dict[int, tuple[bool, ...]] = {}
    constants = {
        ast.unparse(node.targets[0]): ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    # The innermost statement comes last.
    for statement in (node for node in ast.walk(tree) if isinstance(node, ast.stmt)):
        for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
            words = ", ".join(ast.unparse(word) for word in (*call.args, *call.keywords))
            words += "".join(constants.get(name, "") for name in re.findall(r"\*(\w+)", words))
            if not PASSING.fullmatch(ast.unparse(call.func)) or "*services" in words:
                continue
            told = f"{words} {ast.unparse(statement)}"
            address = re.search(r"database=address|configured_environment\(READER\)|\| found", told)
            every, of_tracker = re.search(r"\*Service\b", words), "mlflow_store.services" in words
            s3, tracker = (
                bool(every) or of_tracker or f"Service.{name}" in words for name in ("S3", "MLFLOW")
            )
            found[call.lineno] = (bool(address), s3, tracker, bool(every) or "Service.CLUSTER" in words)
    return [found[line] for line in sorted(found)]


def test_the_documents_say_which_process_is_given_which_secrets() -> None:
    page = (REPOSITORY / "docs/environment.md").read_text(encoding="utf-8")
    rows = page.partition("\n## Which process has which secrets")[2].splitlines()
    told: dict[str, list[tuple[bool, ...]]] = {}
    for path, beginnings in PASSED_ON.items():
        told[path] = []
        for beginning in beginnings:
            (row,) = [row for row in rows if row.startswith(f"| {beginning}")]
            told[path].append(tuple(cell.strip().startswith("yes") for cell in row.split("|")[2:6]))
    given = {str(path.relative_to(REPOSITORY)): passed_on(path.read_text("utf-8")) for path in PROGRAMS}
    assert {path: calls for path, calls in given.items() if calls} == told
