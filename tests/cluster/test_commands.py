"""`heimdall cluster` as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from heimdall.services import ray_node
from tests import REPOSITORY
from tests.conftest import clean_environment, free_port_base, heimdall
from tests.processes import answers, listeners


@pytest.fixture
def person() -> Iterator[dict[str, str]]:
    """The environment of somebody who has no token, and whose temporary folder is empty."""
    home = Path(tempfile.mkdtemp(prefix="hd-", dir="/tmp"))  # sockets need a short name
    (home / "tmp").mkdir()
    found = clean_environment() | {"HOME": str(home), "TMPDIR": str(home / "tmp")}
    found |= {"PYTHONPATH": str(REPOSITORY / "src"), "PGPASSWORD": "of-the-shell"}
    yield {name: value for name, value in found.items() if not name.startswith("RAY_")}
    cluster(found, "stop")
    shutil.rmtree(home)


def cluster(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heimdall", "cluster", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cluster_of_this_machine_is_started_shown_and_stopped(person: dict[str, str]) -> None:
    address = f"127.0.0.1:{free_port_base()}"
    begun = cluster(person, "start", "--listen", address, "--cpus", "1")
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout.splitlines()[-1] == f"export HEIMDALL_RAY_ADDRESS={address}"
    token = Path(person["HOME"]) / ".ray" / "auth_token"
    assert (token.stat().st_mode & 0o777, token.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    (folder,) = Path(person["TMPDIR"]).glob("heimdall-ray-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    lines = answers(psutil.process_iter(), psutil.Process.cmdline)
    mine = [one for one, line in lines.items() if str(folder) in " ".join(line)]
    environments = answers(mine, psutil.Process.environ).values()
    assert environments
    assert not any("PGPASSWORD" in environment for environment in environments)
    assert {host.removeprefix("::ffff:") for host in listeners(mine)} == {"127.0.0.1"}

    member = person | {"HEIMDALL_RAY_ADDRESS": address}
    (node,) = json.loads(cluster(member, "status", "--json").stdout)
    assert (node["cpus"], node["shares"], node["refusal"]) == (1, True, None)
    shown = cluster(member, "status")
    assert (shown.returncode, shown.stdout.split()[2:]) == (0, ["1", "CPUs", "ready"]), shown.stderr
    looked = json.loads(heimdall(REPOSITORY, "doctor", "--json", env=member).stdout)["checks"]
    states = {check["name"]: check["state"] for check in looked}
    assert (states["Ray"], states["cluster"]) == ("ok", "ok")
    assert "a node runs on this machine" in cluster(person, "start", "--listen", address).stderr

    assert cluster(person, "stop").stdout == "This machine has left the cluster.\n"
    assert not folder.exists()
    assert cluster(person, "stop").stdout == "This machine was in no cluster.\n"


def test_a_token_that_others_may_read_or_that_is_not_there_is_refused(person: dict[str, str]) -> None:
    token = Path(person["HOME"]) / "token"
    asked = ("join", "127.0.0.1:1", "--token-file", str(token))
    assert "there is no such file with the cluster's token" in cluster(person, *asked).stderr
    token.touch(0o600)
    assert "the file of the cluster's token is empty. Remove it" in cluster(person, *asked).stderr
    token.write_text("a" * 64)
    token.chmod(0o644)
    refused = cluster(person, *asked)
    assert refused.returncode == 1
    assert f"others may read the cluster's token. Run `chmod 600 {token}`" in refused.stderr


def test_a_machine_that_cannot_join_says_why_and_leaves_nothing(person: dict[str, str]) -> None:
    token = Path(person["HOME"]) / "token"
    token.write_text("a" * 64)
    token.chmod(0o600)
    for address, cause in (
        ("127.0.0.1:1", "of one machine, its own"),
        ("nohost.invalid:1", "nothing answers"),
        ("no..host:1", "nothing answers"),
        ("", "'' is no host and port. "),
    ):
        refused = cluster(person, "join", address, "--token-file", str(token))
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"heimdall: {address or 'Ray cluster'}: ")
        assert cause in refused.stderr
    for address in ("0.0.0.0", "99999", "192.0.2.1"):  # noqa: S104 - of all networks, no address, of another machine
        refused = cluster(person, "start", "--listen", address)
        assert (refused.returncode, refused.stderr.startswith(f"heimdall: --listen {address}")) == (1, True)
    more = str(len(os.sched_getaffinity(0)) + 1)
    for asked in (("start",), ("join", "10.0.0.1:1", "--token-file", str(token))):
        refused = cluster(person, *asked, "--cpus", more)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"heimdall: --cpus {more}: this machine has {int(more) - 1} CPUs. ")
    assert not list(Path(person["TMPDIR"]).iterdir())


@pytest.mark.parametrize(
    ("affinity", "limit", "usable"), [(3, None, 3), (3, 2.5, 2), (1, 4.0, 1), (3, 0.5, 1)]
)
def test_a_node_offers_what_this_process_may_use(
    affinity: int, limit: float | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr("ray._private.utils._get_docker_cpus", lambda: limit)
    assert ray_node._usable() == usable
