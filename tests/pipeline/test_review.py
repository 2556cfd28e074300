"""`heimdall compare` and `heimdall review` on two revisions, with git and the remote alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from heimdall.commands.compare import compare
from tests.conftest import Services
from tests.pipeline import actions
from tests.projects import BIN, REPOSITORY, Project, read_only

GH = """#!/usr/bin/env bash
# `gh` as far as the workflow uses it: keeps the body of the comment beside itself, and what it was asked for.
set -eu
here=$(dirname "$0")
if [[ "$1 $2" == "api --paginate" ]]; then  # which comment begins with the mark
    if [[ -e "$here/comment" && "$(head -n 1 "$here/comment")" == "$MARK" ]]; then echo 41; fi
    exit
fi
echo "$GH_TOKEN $GH_REPO $*" >> "$here/calls"
last="${@: -1}"
cp "${last#body=@}" "$here/comment"
"""


MARK = "<!-- review by heimdall -->"


@pytest.fixture(scope="module")
def branch(slower: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A branch that learns more slowly, committed and pushed to the remote; main is one commit back.

    Both are tagged as a release is.
    """
    project = slower.copy(tmp_path_factory.mktemp("review") / "heimdall")
    project.run("git", "checkout", "--quiet", "-b", "slower")
    project.run("git", "branch", "--quiet", "--force", "main", "HEAD~")
    for tag, revision in (("v0.1.0", "main"), ("v0.2.0", "HEAD")):
        project.run("git", "tag", "--annotate", "--message", f"Release {tag}", tag, revision)
    return project


@pytest.fixture(scope="module")
def clone(branch: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What a reviewer has: the branch and the features, no model and no cache of any; not to be changed."""
    clone = branch.clone(tmp_path_factory.mktemp("reviewer") / "heimdall")
    clone.run("git", "remote", "set-head", "origin", "--delete", check=False)
    clone.run("dvc", "pull", "--quiet", "data/features")
    return clone


def test_two_releases_are_compared_from_the_remote(clone: Project, tmp_path: Path) -> None:
    report, picture = tmp_path / "all.json", tmp_path / "map.png"
    done = clone.run_here(compare, "v0.1.0", "v0.2.0", "--json-file", str(report), "--plot", str(picture))
    assert done.returncode == 0, done.stdout
    found = json.loads(report.read_text())
    measured = json.loads((clone.root / "metrics/eval_full.json").read_text())["test"]["localizer"]
    assert "(simulated data)" in done.stdout
    assert found["data"] == "simulated"
    assert (found["a"]["seen"], found["b"]["seen"]) == ({"sessions": 0, "known_transmitter": 0},) * 2
    assert found["a"]["sha256"] != found["b"]["sha256"]
    commits = [
        clone.run("git", "rev-parse", f"{tag}^{{commit}}").stdout.strip() for tag in ("v0.1.0", "v0.2.0")
    ]
    assert [found["a"]["commit"], found["b"]["commit"]] == commits
    # What the pipeline measured with PyTorch, up to the parity of the export.
    assert found["overall"]["b"]["mae_m"] == pytest.approx(measured["mae_m"], abs=1)
    assert found["overall"]["b"]["nll_nats"] == pytest.approx(measured["nll_nats"], abs=0.05)
    assert found["overall"]["b"]["coverage_95"] == measured["coverage_95"]
    difference_m = found["overall"]["b"]["mae_m"] - found["overall"]["a"]["mae_m"]
    assert found["overall"]["mae_difference_m"] == pytest.approx(difference_m)
    assert difference_m != 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert clone.env["AWS_SECRET_ACCESS_KEY"] not in done.stdout
    for text in (done.stdout, report.read_text()):
        assert str(clone.root) not in text


@pytest.mark.series
def test_sessions_of_a_former_snapshot_are_counted(branch: Project, tmp_path: Path) -> None:
    """A newer snapshot splits anew: what it holds out, a model of the former one may have learned."""
    project = branch.copy(tmp_path / "heimdall")
    index = project.root / "data/features/index.parquet"
    former = pd.read_parquet(index)
    project.set_params(snapshot={"as_of": "2026-04-01T00:00:00Z"}, split={"seed": 43})
    project.run("dvc", "repro", "featurize")
    now = pd.read_parquet(index)
    learned = set(former[former["split"] == "development"]["session_id"])
    held_out = set(now[now["split"] == "test"]["session_id"])
    assert len(now) > len(former)
    assert learned & held_out
    done = project.run("heimdall", "compare", "main", "models/localizer.onnx", "--json-file", "all.json")
    found = json.loads((project.root / "all.json").read_text())
    assert found["a"]["seen"]["sessions"] == len(learned & held_out)
    assert found["overall"]["sessions"] == len(held_out)
    assert "**Not held out from A**" in done.stdout
    assert found["b"]["seen"] is None
    assert "**B may know test sessions**" in done.stdout


def test_a_review_finds_its_baseline(clone: Project) -> None:
    done = clone.run("heimdall", "review")
    base, head = (
        clone.run("git", "rev-parse", "--short=12", name).stdout.strip() for name in ("origin/main", "HEAD")
    )
    assert f"## {head}, against {base}\n" in done.stdout
    assert re.search(r"\| params.yaml +\| lr +\| 0.0003 +\| 1e-05 +\|", done.stdout)
    assert re.search(r"\| metrics/eval.json +\| mae_m +\|", done.stdout)
    assert re.search(
        r"### A and B on the same \d+ test sessions of \d+ transmitters \(simulated", done.stdout
    )
    assert clone.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.series
def test_a_review_says_what_it_could_not_compare(clone: Project, tmp_path: Path) -> None:
    same = clone.run("heimdall", "review", "HEAD")
    assert "### Parameters\n\nNo change." in same.stdout
    assert "No model to compare: models/localizer.onnx is not in the working tree" in same.stdout
    none = clone.run("heimdall", "review", "HEAD~2")  # before the pipeline ran
    assert "has no models/localizer.onnx to compare with" in none.stdout
    without = clone.copy(tmp_path / "heimdall")
    without.run("dvc", "pull", "--quiet", "models/localizer.onnx")
    assert "is the same, byte for byte" in without.run("heimdall", "review", "HEAD").stdout
    (without.root / "data/features/network.json").unlink()
    failed = without.run("heimdall", "review", check=False)
    assert failed.returncode == 1
    assert "| metrics/eval.json | mae_m |" in failed.stdout
    assert re.search(r"\*\*Not compared.\*\* data/features/network.json: ", failed.stdout)
    assert "Traceback" not in failed.stdout


def test_an_unknown_revision_is_one_line(clone: Project) -> None:
    done = clone.run("heimdall", "compare", "v9.9.9", "HEAD", check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"heimdall: .*v9\.9\.9.*\n", done.stdout)


def checked_out(branch: Project, shared_services: Services, target: Path) -> Project:
    """What the workflow's job has before its `run:` steps: the branch, the whole history, an installation."""
    branch.run("git", "clone", "--quiet", str(branch.root), str(target))
    here = Project(target, branch.env)
    endpoint_url = read_only(shared_services, branch)["HEIMDALL_S3_ENDPOINT_URL"]
    here.run("dvc", "remote", "modify", "s3", "url", f"s3://{branch.env['HEIMDALL_DVC_BUCKET']}")
    here.run("dvc", "remote", "modify", "s3", "endpointurl", endpoint_url)
    here.commit("The team's remote")
    here.run("git", "checkout", "--quiet", "--detach")
    here.run("git", "remote", "set-head", "origin", "--delete")
    (target / ".venv").mkdir()
    (target / ".venv/bin").symlink_to(BIN)
    (target / ".venv/.installed").touch()
    return here


@pytest.mark.series
def test_the_workflow_posts_the_review(branch: Project, shared_services: Services, tmp_path: Path) -> None:
    """The `run:` steps of .github/workflows/review.yaml for a branch, again without secrets, and for a fork.

    Not real are what GitHub does itself: the checkout, secrets and expressions, the comments behind `gh`; and
    `make setup` finds what is installed here.
    """
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    others = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN]
    env = {
        "PATH": os.pathsep.join([str(gh.parent), *others]),
        "HOME": str(tmp_path),
        "CI": "true",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc-site"),
    }
    reader = read_only(shared_services, branch)
    values = {
        "github.repository": "team/heimdall",
        "github.event.pull_request.head.repo.full_name": "team/heimdall",
        "github.event.pull_request.number": "7",
        "github.token": "token-of-the-job",
        "secrets.HEIMDALL_REMOTE_ACCESS_KEY_ID": reader["AWS_ACCESS_KEY_ID"],
        "secrets.HEIMDALL_REMOTE_SECRET_ACCESS_KEY": reader["AWS_SECRET_ACCESS_KEY"],
    }
    here = checked_out(branch, shared_services, tmp_path / "heimdall")
    without = checked_out(branch, shared_services, tmp_path / "without")

    def job(project: Project, name: str, **changes: str) -> actions.Outcome:
        scratch = tmp_path / name
        scratch.mkdir()
        file = REPOSITORY / ".github/workflows/review.yaml"
        return actions.run(file, "review", project.root, scratch, values=values | changes, env=env)

    first = job(here, "first")
    assert first.code == 0, first.output
    assert [name.split("@")[0] for name in first.uses] == ["actions/checkout", "actions/setup-python"]
    assert first.ran == ["make setup", "Review", "Comment"]
    base, head = (
        here.run("git", "rev-parse", "--short=12", name).stdout.strip() for name in ("origin/main", "HEAD")
    )
    assert first.summary.startswith(f"## {head}, against {base}\n")
    assert "| params.yaml | lr | 0.0003 | 1e-05 |" in first.summary
    assert re.search(r"\| metrics/eval.json \| mae_m \|", first.summary)
    assert re.search(r"### A and B on the same \d+ test sessions of \d+ transmitters", first.summary)
    comment, calls = gh.with_name("comment"), gh.with_name("calls")
    assert comment.read_text() == f"{MARK}\n{first.summary}"
    posts = "token-of-the-job team/heimdall pr comment 7 --body-file comment.md"
    address = "repos/team/heimdall/issues/comments/41"
    edits = f"token-of-the-job team/heimdall api --silent --method PATCH {address} --field body=@comment.md"
    assert calls.read_text().splitlines() == [posts]

    # Without the remote the models are not compared: the comment is edited to say so, and the job fails.
    secrets = {name: "" for name in values if name.startswith("secrets.")}
    second = job(without, "second", **secrets)
    assert second.ran == ["make setup", "Review", "Comment", "Fail where the review is not whole"]
    assert second.code == 1
    assert "| params.yaml | lr | 0.0003 | 1e-05 |" in second.summary
    assert "**Not compared.**" in second.summary
    assert "Traceback" not in second.summary
    assert comment.read_text() == f"{MARK}\n{second.summary}"
    assert calls.read_text().splitlines() == [posts, edits]

    # A fork has no secrets either, and may not comment.
    name = "github.event.pull_request.head.repo.full_name"
    third = job(without, "third", **secrets, **{name: "someone/heimdall"})
    assert third.ran == ["make setup", "Review", "Fail where the review is not whole"]
    assert third.code == 1
    assert third.summary == second.summary
    assert calls.read_text().splitlines() == [posts, edits]
