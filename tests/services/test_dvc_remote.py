"""DVC finds the S3 server in use, and what a user wrote beside it stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

from heimdall.core.errors import HeimdallError
from heimdall.services import dvc_remote
from heimdall.storage.endpoints import s3
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import Keys, S3Access
from tests import REPOSITORY
from tests.conftest import DVC_BUCKET, Services, clean_environment, heimdall
from tests.services.local_settings import REMOTE, remote


def test_dvc_pushes_and_pulls_with_either_kind_of_settings(
    services: Services, tmp_path: Path, buckets: object
) -> None:
    committed = REPOSITORY / ".dvc"
    for name, env in (("embedded", clean_environment()), ("configured", services.env)):
        root = tmp_path / name
        (root / ".dvc").mkdir(parents=True)
        for file in ("config", ".gitignore"):
            (root / ".dvc" / file).write_text((committed / file).read_text())
        (root / ".dvc" / "tmp").mkdir()
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        if name == "embedded":
            dvc_remote.write(root, s3(services.root, Identity.REMOTE))
        else:
            assert heimdall(root, "services", "up", env=env).returncode == 0
            assert "access_key_id" not in remote(root)
        (root / "data.txt").write_text(name)
        for arguments in (["add", "data.txt"], ["push"], ["pull"]):
            if arguments == ["pull"]:
                (root / "data.txt").unlink()
                shutil.rmtree(root / ".dvc" / "cache")
            done = subprocess.run(
                [sys.executable, "-m", "dvc", *arguments],
                cwd=root,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert (root / "data.txt").read_text() == name
    assert len(ObjectStore(services.endpoints.s3, DVC_BUCKET).head_all("files/md5/")) == 2


def test_dvc_settings_hold_only_what_differs_from_the_committed_ones(
    tmp_path: Path, services: Services
) -> None:
    where = s3(services.root)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        f"[{REMOTE}]\n    url = s3://{DVC_BUCKET}\n    endpointurl = {where.endpoint_url}\n"
    )
    dvc_remote.write(tmp_path, where)
    # With the address of the bucket: DVC refuses a remote without one, at revisions that do not commit it.
    assert set(remote(tmp_path)) == {"url", "access_key_id", "secret_access_key"}
    (tmp_path / ".dvc" / "config.local").write_text("nonsense")
    with pytest.raises(HeimdallError, match=r"config\.local"):
        dvc_remote.write(tmp_path, where)


OLD = S3Access("http://127.0.0.1:20000", Keys("key", "secret"), "us-east-1", embedded=True)
THEIRS = """# Mine, not git's
[core]
    jobs = 3  # of four cores
# The remote by its former name
['remote "minio"']
    url = s3://heimdall-dvc
    endpointurl = http://127.0.0.1:20000
    access_key_id = dead
    secret_access_key = dead
    # a slow line
    read_timeout = 300
"""


def test_what_a_user_wrote_stays_comments_included_and_no_dead_credentials_do(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    shutil.copy(REPOSITORY / ".dvc" / "config", tmp_path / ".dvc" / "config")
    file = tmp_path / ".dvc" / "config.local"
    file.write_text(THEIRS)
    file.chmod(0o644)
    for _ in range(2):
        dvc_remote.write(tmp_path, OLD)
        text = file.read_text()
        for comment in (
            "# Mine, not git's",
            "# of four cores",
            "# The remote by its former name",
            "# a slow line",
        ):
            assert text.count(comment) == 1
        assert "dead" not in text
        assert "minio" not in text
        assert file.stat().st_mode & 0o777 == 0o600
        assert remote(tmp_path) == {
            "url": f"s3://{DVC_BUCKET}",
            "endpointurl": "http://127.0.0.1:20000",
            "access_key_id": "key",
            "secret_access_key": "secret",
            "read_timeout": "300",
        }
    dvc_remote.forget(tmp_path)
    assert "secret" not in file.read_text()
    assert remote(tmp_path) == {"read_timeout": "300"}
    # Both names, as after a look at an earlier revision.
    file.write_text(THEIRS + "['remote \"s3\"']\n    url = s3://elsewhere\n")
    dvc_remote.write(tmp_path, OLD)
    assert "dead" not in file.read_text()
    assert remote(tmp_path)["url"] == f"s3://{DVC_BUCKET}"


@pytest.mark.parametrize("name", ["s3", "minio"])
def test_a_checkout_of_any_revision_gets_the_settings_under_its_own_name(tmp_path: Path, name: str) -> None:
    repository, checkout = tmp_path / "repository", tmp_path / "checkout"
    for root in (repository, checkout):
        (root / ".dvc").mkdir(parents=True)
    committed = (REPOSITORY / ".dvc" / "config").read_text()
    (repository / ".dvc" / "config").write_text(committed)
    alone = committed.partition("# The former name")[0]
    theirs = committed if name == "s3" else alone.replace("s3\n", f"{name}\n").replace('"s3"', f'"{name}"')
    (checkout / ".dvc" / "config").write_text(theirs)
    (checkout / ".dvc" / "tmp").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    dvc_remote.write(repository, OLD)
    dvc_remote.copy(repository, checkout)
    assert (checkout / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    found = Config(str(checkout / ".dvc"))  # as DVC reads it
    assert found["core"]["remote"] == name
    assert found["cache"]["dir"] == str(checkout / ".dvc" / "cache")
    used = found["remote"][name]
    assert (used["url"], used["endpointurl"]) == (f"s3://{DVC_BUCKET}", "http://127.0.0.1:20000")
    assert (used["access_key_id"], used["secret_access_key"]) == ("key", "secret")


def test_a_clone_that_was_set_up_under_the_former_name_still_works_until_services_up(tmp_path: Path) -> None:
    """`services up` of before wrote the keys alone where the committed address was its own."""
    for root in (tmp_path / "clone", tmp_path / "checkout"):
        (root / ".dvc/tmp").mkdir(parents=True)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        (root / ".dvc/config").write_text((REPOSITORY / ".dvc/config").read_text())
    keys = "    access_key_id = key\n    secret_access_key = secret\n"
    (tmp_path / "clone/.dvc/config.local").write_text(f"['remote \"minio\"']\n{keys}")
    Config(str(tmp_path / "clone/.dvc"))  # which refuses a remote without an address
    dvc_remote.copy(tmp_path / "clone", tmp_path / "checkout")
    used = Config(str(tmp_path / "checkout/.dvc"))["remote"]["s3"]
    assert used["url"] == f"s3://{DVC_BUCKET}"
    assert (used["access_key_id"], used["secret_access_key"]) == ("key", "secret")


@pytest.mark.parametrize("text", ["nonsense", "remote = s3\n", "[core]\na = 1\n[core]\n", "\xff[core]\n"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / ".dvc").mkdir()
    file = tmp_path / ".dvc" / "config.local"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(HeimdallError, match=r"config\.local: not a DVC configuration"):
        dvc_remote.write(tmp_path, OLD)
    assert file.read_bytes() == text.encode("latin-1")


def test_the_page_of_plots_stands_beside_the_remote(tmp_path: Path) -> None:
    dvc_remote.set_plots_page(tmp_path / "elsewhere", tmp_path / "plots.html")
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / ".dvc").mkdir()
    local = tmp_path / dvc_remote.LOCAL
    local.write_text("# mine\n[cache]\n    type = copy\n[plots]\n    auto_open = true\n", encoding="utf-8")
    dvc_remote.set_plots_page(tmp_path, tmp_path / "plots.html")
    dvc_remote.forget(tmp_path)
    text = local.read_text(encoding="utf-8")
    assert f"    html_template = {tmp_path / 'plots.html'}\n" in text
    assert "# mine" in text
    assert "auto_open = true" in text
