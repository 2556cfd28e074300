"""`heimdall doctor` says what a machine lacks, before anything is installed, and tells no secret."""

from __future__ import annotations

import ast
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heimdall.core import determinism, variables
from heimdall.doctor import checks, configured, installed, machine, report
from heimdall.doctor.report import MISSING, OK, WARNING, Check
from heimdall.storage import embedded
from tests import REPOSITORY
from tests.conftest import Services, clean_environment, heimdall

CPUINFO = "flags\t\t: fpu sse2 fma avx2 bmi2\n"
NAMES = ["Python", "venv", "system", "disk", "memory", "git", "make", "clone", "rights", "ports"]


def before(root: Path, *wrapper: str, env: dict[str, str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code as a Python without any package does."""
    program = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r}); {code}"
    command = [*wrapper, sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def clone(root: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def test_without_any_package_it_looks_at_everything_in_seconds(tmp_path: Path) -> None:
    run = "import runpy; sys.argv[1:] = ['--json']; runpy.run_module('heimdall.doctor', run_name='__main__')"
    began = time.monotonic()
    done = before(clone(tmp_path), env=clean_environment(), code=run)
    assert time.monotonic() - began < 5
    found = json.loads(done.stdout)
    assert list(dict.fromkeys(check["name"] for check in found["checks"])) == NAMES
    assert done.returncode == (0 if found["ready"] else 1)
    assert found["ready"], found


def test_what_it_imports_can_be_read_by_python_3_8(tmp_path: Path) -> None:
    code = (
        "import heimdall.doctor.__main__; "
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('heimdall')), sep='\\n')"
    )
    files = before(tmp_path, env=clean_environment(), code=code).stdout.splitlines()
    assert str(REPOSITORY / "src/heimdall/doctor/machine.py") in files
    for file in files:
        ast.parse(Path(file).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("version", "word"), [((3, 8), "too old"), ((3, 10), "too old"), ((3, 14), "too new")]
)
def test_a_python_that_does_not_fit_is_named_with_those_that_do(
    version: tuple[int, int], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    monkeypatch.setattr(platform, "python_version", lambda: "{}.{}.0".format(*version))
    check = machine.python()
    assert check.state == MISSING
    assert word in check.found
    for fitting in determinism.PYTHONS:
        assert "{}.{}".format(*fitting) in check.found
    assert "make demo PYTHON=" in check.remedy


@pytest.mark.parametrize(
    ("here", "state", "said"),
    [
        (("Linux", "x86_64", CPUINFO, "glibc"), OK, "AVX2"),
        (("Linux", "x86_64", CPUINFO.replace("avx2 ", ""), "glibc"), WARNING, "no AVX2"),
        (("Linux", "aarch64", "", "glibc"), WARNING, "aarch64"),
        (("Linux", "x86_64", CPUINFO, ""), MISSING, "glibc"),
        (("Darwin", "arm64", "", ""), MISSING, "Darwin"),
    ],
)
def test_another_system_stops_the_demo_another_processor_only_warns(
    here: tuple[str, str, str, str], state: str, said: str
) -> None:
    check = machine.processor(*here)
    assert check.state == state
    assert said in check.found
    assert bool(check.remedy) == (state != OK)


def test_a_full_disk_is_named_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk() -> tuple[set[str], str]:
        found = machine.disk(tmp_path)
        return {check.state for check in found}, " ".join(check.found + check.remedy for check in found)

    assert disk()[0] == {OK}
    monkeypatch.setattr(machine, "CLONE_GB", 1e6)
    states, text = disk()
    assert MISSING in states
    assert str(tmp_path) in text
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    assert MISSING not in disk()[0]  # what is installed and made needs no room any more


def test_little_memory_warns() -> None:
    assert machine.memory("MemTotal: 9\nMemAvailable:   16000000 kB\n").state == OK
    little = machine.memory("MemAvailable:   1000000 kB\n")
    assert (little.state, little.found) == (WARNING, "1.0 GB free; 4 GB needed")
    assert machine.memory("").state == WARNING


def test_programs_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(check.name, check.state) for check in machine.programs()] == [
        ("git", MISSING),
        ("make", MISSING),
    ]
    assert all("apt-get install" in check.remedy for check in machine.programs())


def test_a_folder_that_is_no_clone_is_refused_as_dvc_would(tmp_path: Path) -> None:
    assert machine.clone(tmp_path).state == MISSING
    assert machine.clone(clone(tmp_path)).state == OK


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".heimdall").mkdir(mode=0o500)
    code = "from pathlib import Path; from heimdall.doctor import machine; print(machine.rights(Path()))"
    env = clean_environment() | {"HOME": str(tmp_path)}
    if os.geteuid() == 0:  # whom no mode stops
        tmp_path.chmod(0o777)
        # Who may read everything: the Python of the tests may lie below a folder of root alone.
        reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        wrapper = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *reading]
    else:
        wrapper = []
    shown = before(tmp_path, *wrapper, env=env, code=code).stdout
    assert "state='missing', found='no right to write in .heimdall" in shown


def test_a_user_without_a_name_is_told_before_dvc_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    check = machine.rights(tmp_path)
    assert (check.state, check.remedy[:8]) == (MISSING, "Set USER")


def test_ports_that_others_have_are_passed_over_unless_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEIMDALL_DATABASE_URL", "HEIMDALL_S3_ENDPOINT_URL", "HEIMDALL_PORT_BASE"):
        monkeypatch.delenv(name, raising=False)
    first, second = 21310, 21330
    monkeypatch.setattr(embedded, "PORT_BASES", (first, second))
    with socket.create_server(("127.0.0.1", first + 9)):
        others = machine.ports(tmp_path)
        assert others.state == OK
        assert f"{second} to {second + 9} and {second + 10009} are free" in others.found
        monkeypatch.setenv("HEIMDALL_PORT_BASE", str(first))
        asked = machine.ports(tmp_path)
        assert asked.state == MISSING
        assert "Unset HEIMDALL_PORT_BASE" in asked.remedy
    assert machine.ports(tmp_path).state == OK
    monkeypatch.setenv("HEIMDALL_PORT_BASE", "30000")
    assert "10009" in machine.ports(tmp_path).found  # why there are none so high
    monkeypatch.delenv("HEIMDALL_PORT_BASE")
    embedded.save(tmp_path, embedded.create(tmp_path))
    with socket.create_server(("127.0.0.1", first)):
        assert "as this clone has had them" in machine.ports(tmp_path).found


def test_configured_services_are_reached_or_named_without_their_secrets(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    assert [check.state for check in configured.services()] == [OK, OK]
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/radio")
    monkeypatch.setenv("HEIMDALL_S3_ENDPOINT_URL", "https://me:s3cret@s3.example")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    database, s3, mlflow = configured.services()
    assert "127.0.0.1:1 cannot be reached (Connection refused)" in database.found
    assert "HEIMDALL_S3_ENDPOINT_URL" in s3.found
    assert (database.state, s3.state, mlflow.state) == (MISSING, MISSING, WARNING)
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "mysql://me:s3cret@127.0.0.1/radio")
    assert "s3cret" not in " ".join(report.lines([*configured.services(), database]))


def test_a_host_that_does_not_answer_is_waited_for_no_longer_than_promised() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = []
        for _ in range(3):  # until the queue is full: the next one gets no answer
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        began = time.monotonic()
        assert "no answer within 0.5 s" in configured.answers("127.0.0.1", port, timeout_s=0.5)
        assert time.monotonic() - began < 2
        for one in waiting:
            one.close()


def test_a_package_unlike_the_lock_is_named(tmp_path: Path) -> None:
    assert installed.packages(REPOSITORY).state == OK
    lock = (REPOSITORY / installed.LOCK).read_text(encoding="utf-8")
    (tmp_path / "requirements").mkdir()
    (tmp_path / installed.LOCK).write_text(
        lock.replace("\nclick==", "\nclick==0.", 1) + "nowhere==1.0 \\\n", encoding="utf-8"
    )
    check = installed.packages(tmp_path)
    assert check.state == MISSING
    assert "click is " in check.found
    assert "nowhere is not installed, not 1.0" in check.found
    assert check.remedy == "Run `make setup`"


def test_only_what_is_missing_makes_the_exit_code_1() -> None:
    warned = [Check("a", OK, "b"), Check("c", WARNING, "d", "e")]
    assert report.passes(warned)
    assert report.lines(warned)[-1] == "Nothing is missing. One warning: see above."
    lacking = [*warned, Check("longer", MISSING, "f", "g")]
    assert not report.passes(lacking)
    assert report.lines(lacking)[-3:] == [
        "missing  longer  f",
        "                 Remedy: g.",
        "The demo cannot run here yet. Missing: longer.",
    ]


def test_the_command_looks_at_packages_and_servers_too(services: Services, tmp_path: Path) -> None:
    root = clone(tmp_path)
    (root / "requirements").symlink_to(REPOSITORY / "requirements")
    shown = heimdall(root, "doctor", "--json", env=services.env)
    assert shown.returncode == 0, shown.stdout
    states = {check["name"]: check["state"] for check in json.loads(shown.stdout)["checks"]}
    assert (states["packages"], states["PostgreSQL server"], states["S3 server"]) == (OK, OK, OK)
    assert services.env["AWS_SECRET_ACCESS_KEY"] not in shown.stdout

    assert "cluster" not in states

    none = heimdall(root, "doctor", env=clean_environment())
    assert "not started yet; `heimdall services up` starts them" in none.stdout
    gone = heimdall(
        root, "doctor", env=services.env | {"HEIMDALL_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    )
    assert gone.returncode == 1
    assert "cannot be reached" in gone.stdout

    named = {variables.RAY_ADDRESS.name: "127.0.0.1:1", variables.RAY_AUTH_TOKEN.name: "s3cret"}
    absent = heimdall(root, "doctor", env=clean_environment() | named)
    assert absent.returncode == 1
    assert "missing  cluster" in absent.stdout
    assert "Ray cluster 127.0.0.1:1: nothing answers there" in absent.stdout
    assert "s3cret" not in absent.stdout


def test_all_checks_are_in_the_order_in_which_they_are_read(tmp_path: Path) -> None:
    found = [check.name for check in checks.before_installation(clone(tmp_path))]
    assert [name for name in dict.fromkeys(found) if name in NAMES] == NAMES
