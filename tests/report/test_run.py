"""What is read of a run: of the working tree, of a commit, and where files are missing or others."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from heimdall.core import paths
from heimdall.core.errors import HeimdallError
from heimdall.report import run, words
from heimdall.report.run import Run
from tests.report import runs
from tests.reproduce.running_git import run_git


def read(root: Path, typed: str | None = None) -> Run:
    return run.read(root, typed, lambda _: None)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write(tmp_path_factory.mktemp("run"))


def test_a_run_has_its_figures_and_what_the_data_say_of_each_test_session(written: Path) -> None:
    found = read(written)
    assert found.absent == ()
    assert found.figures["test"]["localizer"]["n"] == len(found.sessions) == runs.SESSIONS
    assert [one.name for one in found.receivers] == list(runs.RECEIVERS)
    first = found.sessions[0]
    assert first.session_id == runs.session_id(0)
    assert first.correlation == pytest.approx(0.5)
    assert first.bound_m is None  # fewer than three arrival times
    assert first.recorded is not None
    assert first.recorded.time is not None
    assert first.recorded.time.isoformat() == "2026-02-03T04:05:06+00:00"
    assert first.recorded.heard == {2: 32.0, 1: 31.0}  # the strongest first
    assert first.recorded.silent == (3,)
    assert found.sessions[1].bound_m == runs.SIGMA_M
    assert found.revision.changed == ()
    assert found.revision.commit.subject == "A run"
    assert found.revision.former is None


def test_what_only_dvc_holds_is_named_with_its_remedy_where_a_commit_cannot_give_it(written: Path) -> None:
    found = read(written, "HEAD")  # there is no cache and no remote
    assert found.figures == read(written).figures
    assert len(found.sessions) == runs.SESSIONS
    assert {one.recorded for one in found.sessions} == {None}
    absent = {one.path: one for one in found.absent}
    assert set(absent) == {run.RECEIVERS, run.INDEX, str(paths.QUARANTINE), run.MODEL_RECORD}
    assert "dvc push" in absent[run.INDEX].remedy
    assert str(written) not in "".join(map(str, found.absent))


def test_a_missing_file_of_the_working_tree_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    (root / run.INDEX).unlink()
    (root / run.SLICES).write_text("changed by hand\n")
    found = read(root)
    absent = {one.path: one for one in found.absent}
    assert set(absent) == {run.INDEX, run.SLICES}
    assert "dvc pull" in absent[run.INDEX].remedy
    assert "dvc.lock" in absent[run.SLICES].cause
    assert len(found.sessions) == runs.SESSIONS
    assert found.revision.changed == (run.SLICES,)


def test_figures_that_are_not_those_of_the_lock_are_refused(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    file = root / "metrics/eval_full.json"
    file.write_text(file.read_text().replace("0.9", "0.1"))
    with pytest.raises(HeimdallError, match=r"eval_full.json: .*dvc.lock says"):
        read(root)


def test_parameters_and_code_are_compared_with_the_run_before(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    runs.relock(root, lr=0.01, seed=7)
    runs.commit(root, "Learn faster")
    (root / "README.md").write_text("no run\n")
    runs.commit(root, "Words alone")
    found = read(root).revision
    assert found.commit.subject == "Words alone"
    assert found.former is not None
    assert found.former.commit.subject == "A run"
    assert [(one.name, one.now, one.before) for one in found.former.params] == [
        ("lr", 0.01, 0.001),
        ("seed", 7, None),
    ]
    assert found.former.same_data
    assert found.former.code == ()


def test_new_code_that_git_does_not_track_is_a_change_and_what_it_ignores_is_none(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    (root / ".gitignore").write_text("/data\n/models\n*.pyc\n")
    runs.commit(root, "Ignore what is compiled")
    for name in ("src/heimdall/core/new.py", "src/heimdall/core/new.pyc", "stages/own.py", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1\n")
    assert read(root).revision.changed == ("src/heimdall/core/new.py", "stages/own.py")
    assert read(root, "HEAD").revision.changed == ()


def test_transmitters_are_told_apart_as_in_the_evaluation_with_and_without_the_data(written: Path) -> None:
    for found in (read(written), read(written, "HEAD")):  # the commit has no index here
        clusters = {one.transmitter for one in found.sessions}
        assert len(clusters) == found.figures["test"]["localizer"]["clusters"] == runs.TRANSMITTERS
        assert found.sessions[0].transmitter == found.sessions[runs.TRANSMITTERS].transmitter


def test_no_run_no_revision_and_no_clone_are_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"clone"):
        read(tmp_path)
    root = runs.write(tmp_path / "one")
    with pytest.raises(HeimdallError, match=r"'v9.9.9': git knows no such revision here\. Name a commit"):
        read(root, "v9.9.9")
    run_git(root, "rm", "--quiet", "metrics/eval_full.json")
    with pytest.raises(HeimdallError, match=r"eval_full.json: it is missing\. Run `dvc repro`"):
        read(root)
    (root / "dvc.lock").unlink()
    with pytest.raises(HeimdallError, match=r"dvc.lock: there is none here\. .*dvc repro"):
        read(root)


@pytest.mark.parametrize(("covered", "n"), [(0, 5), (5, 5), (32, 34)])
def test_exact_intervals_are_those_of_the_binomial_test(covered: int, n: int) -> None:
    exact = stats.binomtest(covered, n).proportion_ci(0.95, method="exact")
    assert words.exact_interval(covered, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
