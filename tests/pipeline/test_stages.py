"""dvc.yaml names for each stage exactly the rooms that it is made of: no rerun too many, none too few."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.projects import STAGES, Project, outputs
from tests.start_up import IMPORTED, LIBRARIES, SLOW, answer

PREFIX = "src/heimdall/"
PACKAGE = REPOSITORY / PREFIX
MOST_DEPS = 10  # besides data and requirements
# What a script imports that changes no output of its stage, and is no dep of it: the record that MLflow gets
# of a training when its outputs are written, and a training by hand, whose outputs are no stage's.
NO_DEPS = {"pretrain": ("heimdall.track",), "train": ("heimdall.track", "heimdall.api")}
STAND_IN = (
    '"""In place of the room."""\n\n\ndef track(*_: object, **_more: object) -> None:\n    """Nothing."""\n'
)


def rooms_of(stage: str) -> set[str]:
    """The rooms among a stage's deps, such as "pipeline/train"."""
    return {dep.removeprefix(PREFIX) for dep in STAGES[stage]["deps"] if dep.startswith(PREFIX)}


def room_of(module: str) -> str:
    """The room of a module by its dotted name; empty for the packages that hold rooms alone."""
    _, *parts = module.split(".")
    if parts[:1] == ["pipeline"]:
        return "/".join(parts[:2]) if len(parts) > 1 else ""
    return parts[0] if parts else ""


def file_of(module: str) -> Path | None:
    """The source of one of our modules; None where a name is none."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports(source: Path) -> Iterator[str]:
    """Our modules that a source imports anywhere, in functions too, but for type checkers alone."""
    nodes: list[ast.AST] = [ast.parse(source.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "heimdall" and file_of(name))


def reached(stage: str) -> set[str]:
    """Every module of ours that a stage's script can import, through others and late as well."""
    no_deps = NO_DEPS.get(stage, ())
    script = REPOSITORY / "stages" / f"{stage}.py"
    found: set[str] = set()
    new = [name for name in imports(script) if not name.startswith(no_deps or "-")]
    while new:
        name = new.pop()
        if name in found:
            continue
        found.add(name)
        file = file_of(name)
        assert file is not None
        parents = name.split(".")
        new += [".".join(parents[:count]) for count in range(1, len(parents))]
        new += imports(file)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_rooms_that_its_script_can_import(name: str) -> None:
    assert {room_of(module) for module in reached(name)} - {""} == rooms_of(name)


@pytest.fixture(scope="module")
def pruned(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the built project, whose package the tests cut down."""
    return built.copy(tmp_path_factory.mktemp("pruned") / "heimdall")


@pytest.mark.parametrize(
    "name", [name if name == "train" else pytest.param(name, marks=pytest.mark.series) for name in STAGES]
)
def test_a_stage_runs_with_its_rooms_alone_imports_each_and_makes_the_same_bytes(
    name: str, pruned: Project
) -> None:
    before = pruned.hashes(name)
    for path in outputs(name):
        output = pruned.root / path
        shutil.rmtree(output) if output.is_dir() else output.unlink()
    package = pruned.root / PREFIX
    shutil.rmtree(package)
    for file in ("__init__.py", "pipeline/__init__.py"):
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / file, package / file)
    for room in rooms_of(name):
        shutil.copytree(PACKAGE / room, package / room)
    if name in NO_DEPS:
        (package / "track").mkdir()
        (package / "track/__init__.py").touch()
        (package / "track/tracking.py").write_text(STAND_IN, encoding="utf-8")
    said = pruned.run(
        "python", f"stages/{name}.py", PYTHONPATH=str(pruned.root / "src"), PYTHONPROFILEIMPORTTIME="1"
    ).stdout
    imported = {module for module in IMPORTED.findall(said) if module.split(".")[0] == "heimdall"}
    assert {room_of(module) for module in imported} - {"", "track"} == rooms_of(name)
    assert pruned.hashes(name) == before


def test_what_holds_rooms_alone_imports_none_so_that_no_stage_depends_on_it() -> None:
    for name in ("heimdall", "heimdall.pipeline"):
        script = f"import sys, {name}; print(*sorted(m for m in sys.modules if m.startswith('heimdall')))"
        said = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        assert said.split() == (["heimdall"] if name == "heimdall" else ["heimdall", "heimdall.pipeline"])


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_its_script_and_the_locked_requirements(name: str) -> None:
    deps = STAGES[name]["deps"]
    assert f"stages/{name}.py" in deps
    # An upgrade never sends a team back to the database.
    assert ("requirements/runtime.txt" in deps) == (name != "snapshot")
    assert "requirements/dev.txt" not in deps
    assert sum(dep.startswith(("stages/", "src/")) for dep in deps) <= MOST_DEPS
    assert ("sql" in deps) == (name == "snapshot")  # the SELECTs, and the files that pin receivers
    made = {path for stage in STAGES for path in outputs(stage)} | {"requirements/runtime.txt", "sql"}
    assert all(dep.startswith(("stages/", "src/")) or dep in made for dep in deps)


def test_a_change_in_a_room_runs_the_stages_again_that_are_made_of_it_and_no_other(project: Project) -> None:
    def changed() -> set[str]:
        return set(json.loads(project.run("dvc", "status", "--json").stdout))

    learned = {"pretrain", "train", "evaluate", "export"}
    for modules, stages in {
        ("monitor/monitor.py", "release/registry.py"): set(),
        ("storage/connection.py",): {"snapshot"},
        ("position/solver.py",): learned,
        ("core/errors.py",): set(STAGES),
    }.items():
        files = [project.root / PREFIX / module for module in modules]
        before = [file.read_bytes() for file in files]
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content + b"# Another comment.\n")
        assert changed() == stages, modules
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_script_is_short(name: str) -> None:
    script = REPOSITORY / "stages" / f"{name}.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 100


HELP = """
import contextlib, io, json, runpy, sys
found = {}
for name in sys.argv[1:]:
    sys.argv = [f"stages/{name}.py", "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    found[name] = [shown.getvalue(), sorted({module.split(".")[0] for module in sys.modules})]
print(json.dumps(found))
"""


def test_help_of_every_stage_has_an_example_and_waits_for_no_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *STAGES], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert list(found) == list(STAGES)
    for name, (shown, modules) in found.items():
        assert f"python stages/{name}.py" in shown
        assert not LIBRARIES & set(modules), name


MISSPELT = ("learning_rate: 1\n", "learning_rate: Unexpected keyword argument")


@pytest.mark.parametrize(
    ("name", "parameter", "said"),
    [*((name, *MISSPELT) for name in STAGES), ("train", "", "epochs: Input should be")],
)
def test_bad_parameters_are_refused_before_any_library(
    name: str, parameter: str, said: str, tmp_path: Path
) -> None:
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        text + parameter if parameter else re.sub("(?m)^epochs: .*$", "epochs: 0", text), encoding="utf-8"
    )
    found = answer(tmp_path, sys.executable, str(REPOSITORY / "stages" / f"{name}.py"))
    assert found.code == 1
    assert f"{name}.py: params.yaml: " in found.error
    assert said in found.error
    assert not SLOW & found.libraries


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--epochs=0", "train.py: command line: epochs: Input should be greater than or equal to 1"),
        (
            "--accelerator=tpu",
            "train.py: command line: accelerator: Input should be 'cpu', 'gpu', 'cuda' or 'auto'",
        ),
        ("--learning_rate=much", "argument --learning_rate: invalid float value: 'much'"),
        ("--export_only", "--checkpoint goes with --resume_training or --export_only"),
        ("--export_only --checkpoint=none.ckpt", "train.py: none.ckpt: the file is missing"),
    ],
)
def test_wrong_options_of_the_training_are_refused_before_any_library(
    option: str, said: str, tmp_path: Path
) -> None:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    found = answer(tmp_path, sys.executable, str(REPOSITORY / "stages/train.py"), *option.split())
    assert found.code != 0
    assert said in found.error
    assert not SLOW & found.libraries


@pytest.mark.parametrize("name", ["train", "evaluate", "export"])
def test_a_missing_input_is_refused_before_any_library(name: str, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    found = answer(tmp_path, sys.executable, str(REPOSITORY / "stages" / f"{name}.py"))
    assert found.code == 1
    assert "the file is missing. Run `dvc repro` or `dvc pull`" in found.error
    assert not SLOW & found.libraries
