"""The command as a person meets it: help, where it works, errors in one line, exit codes."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from heimdall import cli
from heimdall.cli import ENTRIES
from tests import REPOSITORY
from tests.conftest import as_clone, clean_environment, heimdall
from tests.start_up import LIBRARIES, SLOW, answer

PROGRAM = str(Path(sys.executable).parent / "heimdall")
HELP = """
import contextlib, io, json, sys
import click
from heimdall import cli

def commands(group, path):
    yield path
    for name in group.list_commands(None) if isinstance(group, click.Group) else ():
        yield from commands(group.get_command(None, name), [*path, name])

def shown(path, option):
    sys.argv = ["heimdall", *path, option]
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        cli.main()
    return output.getvalue()

print(json.dumps([
    [path, shown(path, "--help"), shown(path, "-h"), sorted({module.split(".")[0] for module in sys.modules})]
    for path in commands(cli.heimdall, [])
]))
"""


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], str, str, list[str]]]:
    """Path, both helps and imported libraries of every command, outside of any clone."""
    cwd = tmp_path_factory.mktemp("nowhere")
    done = subprocess.run([sys.executable, "-c", HELP], cwd=cwd, capture_output=True, text=True, check=True)
    found: list[tuple[list[str], str, str, list[str]]] = json.loads(done.stdout)
    return found


def test_help_of_every_command_has_an_example_and_waits_for_no_library(
    helps: list[tuple[list[str], str, str, list[str]]],
) -> None:
    paths = [path for path, *_ in helps]
    assert [path[0] for path in paths if len(path) == 1] == list(ENTRIES)
    assert ["services", "up"] in paths
    for path, text, short, modules in helps:
        assert re.search(r"^  Example[:,]", text, re.MULTILINE), path
        assert text == short, path
        assert max(map(len, text.splitlines())) <= 86, path  # of a choice of many words
        assert not LIBRARIES & set(modules), path
    assert all(name in helps[0][1] for name in ENTRIES)


def test_every_example_is_one_line_that_a_shell_takes_and_the_command_knows(
    helps: list[tuple[list[str], str, str, list[str]]],
) -> None:
    for path, text, *_ in helps:
        joined = text.replace("\\\n", " ")
        for example in re.findall(r"^  Example: (.*)$", joined, re.MULTILINE):
            words = re.split(r" [>|] ", example)[0].split(" # ")[0]
            variable = re.compile(r"[A-Z_]+=").match
            typed = list(itertools.dropwhile(variable, shlex.split(words)))
            assert typed[0] == "heimdall", example
            command, arguments = cli.heimdall, typed[1:]
            context = click.Context(command, info_name="heimdall")
            while isinstance(command, click.Group):
                found = command.get_command(context, arguments[0])
                assert found is not None, example
                command, arguments = found, arguments[1:]
            if "--help" not in arguments:
                command.make_context(path[-1] if path else "heimdall", arguments, parent=context)


def test_help_of_the_installed_command_is_the_same(tmp_path: Path) -> None:
    shown = heimdall(tmp_path, "--help", env=clean_environment())
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ENTRIES)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("predict", 2, "Missing argument '[ID=]FILE.npy...'"),
        ("predict params.yaml", 1, "heimdall: models/localizer.onnx: the file is missing. Run"),
        ("predict none.npy", 1, "heimdall: none.npy: it cannot be read"),
        ("predict none.npy --model params.yaml", 1, "heimdall: none.npy: it cannot be read"),
        ("predict params.yaml --model params.yaml --times none.csv", 1, "none.csv: it cannot be read"),
        ("predict none.npy --sample-rate-hz 0", 2, "Invalid value for '--sample-rate-hz'"),
        ("predict none.npy --frequency-mhz 145500", 2, "looks like a frequency in kHz: did you mean 145.5?"),
        ("predict none.npy --frequency-mhz 145500000", 2, "a frequency in Hz: did you mean 145.5?"),
        ("predict none.npy --frequency 145.5", 2, "option '--frequency'. Did you mean '--frequency-mhz'?"),
        ("locate", 2, "Missing argument 'FILE...|SESSION_ID...'"),
        ("locate 6f1c2a9e --method guess", 2, "Invalid value for '--method': 'guess' is not one of"),
        ("locate 6f1c2a9e", 1, "heimdall: data/features/network.json: the file is missing. Run `dvc repro`"),
        ("locate session-1", 1, "heimdall: 'session-1': no session's identifier"),
        ("session show session-1", 1, "heimdall: 'session-1': no session's identifier"),
        ("session list", 1, "heimdall: data/features/network.json: the file is missing. Run `dvc repro`"),
        ("receivers", 1, "heimdall: data/features/network.json: the file is missing. Run `dvc repro`"),
        ("compare HEAD", 2, "Missing argument 'B'"),
        ("compare HEAD mian", 1, "heimdall: 'mian': git knows no such revision here"),
        ("compare HEAD none.onnx", 1, "heimdall: none.onnx: the file is missing"),
        ("compare HEAD main", 1, "data/features/network.json: the file is missing. Run `dvc repro`"),
        ("monitor --since 2026-11-01", 1, "heimdall: models/localizer.onnx: the file is missing. Run"),
        ("lineage none.onnx", 1, "heimdall: none.onnx: the file is missing. Run `dvc repro`"),
        ("monitor", 2, "Missing option '--since'"),
        ("demo seed --seed 1000", 2, "Invalid value for '--seed'"),
        ("ingest kiwi a.wav --latitude 91", 2, "Invalid value for '--latitude'"),
        ("ingest kiwi a.wav --frequency-mhz 77500000", 2, "did you mean 77.5?"),
        ("sweep", 2, "Give --trials N or --grid to work on the study, or --report to see it"),
        ("release", 2, "Missing argument 'vX.Y.Z'"),
        ("release v1", 1, "heimdall: 'v1': no semantic version. Write it as v1.2.3"),
        ("promote v1", 1, "heimdall: 'v1': no semantic version. Write it as v1.2.3"),
        ("verify HEAD HEAD", 2, "Got unexpected extra argument (HEAD)"),
        ("relaese", 2, "No such command 'relaese'. (Did you mean one of: 'release', 'releases'?)"),
        ("nonsense", 2, "No such command 'nonsense'."),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_before_any_slow_library(
    arguments: str, code: int, said: str, clone: Path
) -> None:
    found = answer(clone, PROGRAM, *arguments.split())
    assert found.code == code
    assert said in found.error
    assert not SLOW & found.libraries


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with one commit and no outputs."""
    root = as_clone(tmp_path_factory.mktemp("clone"))
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    for command in (("init", "-q", "-b", "main"), (*identity, "commit", "-q", "--allow-empty", "-m", "One")):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        "compare HEAD main",
        "locate 6f1c2a9e",
        "monitor --since 2026-11-01",
        "receivers",
        "review",
        "session list",
    ],
)
def test_bad_parameters_are_refused_before_any_slow_library(arguments: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (as_clone(tmp_path) / "params.yaml").write_text(f"{text}learning_rate: 1\n", encoding="utf-8")
    found = answer(tmp_path, PROGRAM, *arguments.split())
    assert found.code == 1
    assert "params.yaml: learning_rate: Unexpected keyword argument (did you mean lr?)" in found.error
    assert not SLOW & found.libraries


def test_the_rooms_of_releases_and_services_import_nothing_slow() -> None:
    script = (
        "import sys\n"
        "from heimdall.release import attestation, mlflow_registry, promotion, releases_text\n"
        "from heimdall.services import lifecycle\n"
        "from heimdall.track import mlflow_store, tracking\n"
        "print(*sorted({module.split('.')[0] for module in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not SLOW & set(done.stdout.split())


def test_a_report_and_a_list_of_sessions_wait_for_no_library_of_others() -> None:
    script = (
        "import sys\n"
        "from heimdall.report import report\n"
        "from heimdall.session import files, session_text\n"
        "print(*sorted({module.split('.')[0] for module in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    others = {"boto3", "lightning", "matplotlib", "onnxruntime", "pandera", "psycopg2", "torch"}
    assert not others & set(done.stdout.split())


def test_a_foreseen_failure_is_one_line_on_stderr(tmp_path: Path) -> None:
    failed = heimdall(tmp_path, "services", "status", env=clean_environment())
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("heimdall: PostgreSQL: no embedded server here")
    assert failed.stderr.count("\n") == 1


def test_verbose_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    for arguments in (("--verbose", "services", "status"), ("services", "status", "-v")):
        failed = heimdall(tmp_path, *arguments, env=clean_environment())
        assert "Traceback" in failed.stderr
        assert failed.stderr.splitlines()[-1].startswith("heimdall: PostgreSQL: no embedded server")


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command in a folder as it is."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.needs_clone])
def test_outside_of_a_clone_a_command_says_so_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    for arguments in {"demo": ["seed"], "services": ["up"]}.get(name, []), ["--no-such-option"]:
        failed = run_in(tmp_path, name, *arguments)
        assert failed.returncode == 1
        assert failed.stderr.startswith(
            f"heimdall: {tmp_path}: not inside a clone of Heimdall's repository. "
        )
        assert failed.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_clone_works_outside_of_one(tmp_path: Path) -> None:
    assert "cpu" in json.loads(run_in(tmp_path, "machine", "--json").stdout)["machine"]
    assert "_HEIMDALL_COMPLETE" in run_in(tmp_path, "completion", "zsh").stdout
    missing = run_in(tmp_path, "predict", "none.npy", "--model", "none.onnx")
    assert missing.stderr.startswith("heimdall: none.npy: it cannot be read")
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_a_program_and_needs_no_word_about_threads(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "heimdall"]
    env = clean_environment() | {"OMP_NUM_THREADS": "7"}
    env.pop("HEIMDALL_RECIPE_PROCESS", None)
    as_clone(tmp_path)
    for arguments, said in (
        (["locate", "none.csv"], ["heimdall: none.csv: it cannot be read"]),
        (["-q", "review"], ["heimdall: "]),
        (["review"], ["determinism: OMP_NUM_THREADS=7 is replaced by 2", "heimdall: "]),
    ):
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        lines = done.stderr.splitlines()
        assert [line.startswith(start) for line, start in zip(lines, said, strict=True)] == [True] * len(said)


def test_a_command_works_in_any_folder_of_a_clone_and_paths_are_meant_from_there(clone: Path) -> None:
    deep = clone / "a" / "folder"
    deep.mkdir(parents=True)
    (clone / "a" / "odd.onnx").write_bytes(b"no model")
    assert "localizer.onnx: the file is missing" in run_in(deep, "monitor", "--since", "2026-11-01").stderr
    assert run_in(deep, "lineage", "none.onnx").stderr.startswith(f"heimdall: {deep}/none.onnx: the file is")
    assert run_in(deep, "lineage", "../odd.onnx").stdout.startswith(f"CHANGED: {clone}/a/odd.onnx\n")
    assert f"heimdall: {deep}/none.onnx: " in run_in(deep, "compare", "HEAD", "none.onnx").stderr
    assert f"heimdall: {deep}/none.npy: it" in run_in(deep, "predict", "1=none.npy").stderr
    assert run_in(deep, "machine", "--record").returncode == 0
    assert (clone / "reference.json").is_file()
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("heimdall rel", ["release", "releases"]),
        ("heimdall session f", ["fetch"]),
        ("heimdall predict --fr", ["--frequency-mhz"]),
        ("heimdall completion z", ["zsh"]),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, completed: list[str], tmp_path: Path) -> None:
    asked = {"_HEIMDALL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [PROGRAM], cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_one_that_it_takes(shell: str) -> None:
    script = CliRunner().invoke(cli.heimdall, ["completion", shell]).stdout
    assert "_HEIMDALL_COMPLETE" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_verdict_has_a_colour_on_a_terminal_unless_no_color_is_set(
    more: dict[str, str], coloured: bool, tmp_path: Path
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | more
    script = (
        "from heimdall import cli; from heimdall.commands import output\n"
        "import click\n"
        "@click.command()\n"
        "def machine(): output.lines(['CHANGED: a file', 'an ok line'])\n"
        "cli.LazyGroup.get_command = lambda *_: machine\n"
        "cli.heimdall(['machine'])"
    )
    primary, secondary = os.openpty()
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env, stdout=secondary) as process:
        process.wait(timeout=60)
    os.close(secondary)
    said = os.read(primary, 10_000).decode()
    os.close(primary)
    assert "an ok line" in said
    assert ("\x1b[31mCHANGED:\x1b[0m a file" in said) == coloured
    assert ("\x1b" in said) == coloured


def test_quiet_leaves_the_result_and_errors_alone(clone: Path) -> None:
    script = (
        "import sys; from heimdall import cli; from heimdall.commands import output\n"
        "import click; from tqdm import tqdm\n"
        "@click.command()\n"
        "def machine():\n"
        "    output.progress('machine')('progress')\n"
        "    list(tqdm(range(3), desc='bar', disable=None, ncols=80, nrows=20))\n"
        "    click.echo('error', err=True)\n"
        "    output.as_json({'result': float('nan')})\n"
        "cli.LazyGroup.get_command = lambda *_: cli._as_part_of_the_program(machine)\n"
        "cli.heimdall(sys.argv[1:])"
    )
    said = {}
    for arguments in (("machine",), ("--quiet", "machine"), ("machine", "-q")):
        primary, secondary = os.openpty()
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=clone, stdout=subprocess.PIPE, stderr=secondary,
            check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == {"result": None}
        os.close(secondary)
        said[arguments] = os.read(primary, 10_000).decode()
        os.close(primary)
    loud, *quiet = said.values()
    assert "machine: progress" in loud
    assert "bar" in loud
    assert quiet == ["error\r\n", "error\r\n"]


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    # A database that takes the connection and never says a word keeps the command waiting.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = clean_environment() | {
            "HEIMDALL_DATABASE_URL": f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/name",
            "HEIMDALL_S3_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        process = subprocess.Popen(
            [PROGRAM, "services", "status"],
            cwd=as_clone(tmp_path),
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.accept()
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
