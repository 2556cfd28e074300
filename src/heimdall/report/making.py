"""What a run was made of: data, quarantine, revision, parameters, machine; and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heimdall.core import paths
from heimdall.pages import elements
from heimdall.pages.elements import Cell, Markup, Table
from heimdall.report import words
from heimdall.report.run import FEATURE_METRICS, Run
from heimdall.reproduce import dvc_lock
from heimdall.reproduce.paths import SNAPSHOT_METRICS, TRAIN_METRICS

_MOST_REFUSED = 500  # recordings on the page
_NAMED_FILES = 12  # changed files that are named
_HASH = 12  # digits of a commit


def data(run: Run) -> tuple[Markup, ...]:
    """The recordings, their splits, and the quarantine."""
    return elements.paragraphs(_amounts(run)), *_reasons(run), *_refused(run)


def _amounts(run: Run) -> list[str]:
    said = []
    snapshot = run.metrics.get(SNAPSHOT_METRICS)
    if snapshot is not None:
        said.append(
            f"The snapshot holds what was approved until {snapshot['as_of']}: {snapshot['recordings']} "
            f"recordings ({snapshot['data']}) of {snapshot['sessions']} sessions and "
            f"{snapshot['transmitters']} transmitters by {snapshot['receivers']} receivers."
        )
    split, train = run.metrics.get(FEATURE_METRICS), run.metrics.get(TRAIN_METRICS)
    if split is not None and train is not None:
        by = run.figures["split_by"]
        said.append(
            f"Of the sessions {train['training_sessions']} train, {train['validation_sessions']} validate "
            f"and {split['sessions_by_split']['test']} test; whole {by}s are held out."
        )
    if snapshot is not None:
        count, part = sum(snapshot["quarantined"].values()), snapshot["quarantined_fraction"]
        said.append(
            f"{words.counted(count, 'recording')} ({words.share(part)}) were refused and are in quarantine."
            if count
            else "No recording was refused: the quarantine is empty."
        )
    return said or ["The records of the data are missing, see the last section."]


def _reasons(run: Run) -> list[Markup]:
    """How many recordings were refused for which reason, with an example where the quarantine is here."""
    counts = run.metrics.get(SNAPSHOT_METRICS, {}).get("quarantined", {})
    if not counts:
        return []
    details: dict[str, str] = {}
    if run.quarantine is not None:
        first = run.quarantine.groupby("reason")["detail"].first()
        details = {str(reason): str(detail) for reason, detail in first.items()}
    rows = tuple(
        (reason.replace("_", " "), str(count), details.get(reason, "")) for reason, count in counts.items()
    )
    content = Table(("reason", "recordings", "for example"), rows, "lrl")
    return [elements.table(content, caption="The quarantine by reason.")]


def _refused(run: Run) -> list[Markup]:
    if run.quarantine is None or run.quarantine.empty:
        return []
    total, shown = len(run.quarantine), run.quarantine.head(_MOST_REFUSED)
    rows = tuple(
        tuple(_text(row[name]) for name in ("session_id", "websdr_id", "reason", "detail"))
        for row in shown.to_dict("records")
    )
    named = f"Each of the {total} refused recordings"
    if len(shown) < total:
        named = f"The first {len(shown)} of {total} refused recordings; {paths.QUARANTINE} has all"
    content = Table(("session", "receiver", "reason", "detail"), rows, "lrll")
    return [elements.table(content, caption="The recordings in quarantine.", summary=named)]


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a column holds
    if value is None or value != value:  # noqa: PLR0124 - nan
        return ""
    return str(int(value)) if isinstance(value, float) else str(value)


def lineage(run: Run) -> tuple[Markup, ...]:
    """The revision, what changed since the run before, the parameters, and the hash of each output."""
    revision, commit = run.revision, run.revision.commit
    pairs: list[tuple[str, Cell]] = [
        ("Commit", f"{commit.hash} of {commit.date}: {commit.subject}"),
        ("Working tree", _tree(revision.changed)),
    ]
    if run.model is not None:
        pairs += [
            ("Data of the model", f"{run.model.data}, fingerprint {run.model.data_fingerprint}"),
            ("Weights, SHA-256", run.model.weights_sha256 or ""),
            *((name.removesuffix("_sha256").replace("_", " ").capitalize() + ", SHA-256", value)
              for name, value in run.model.others.items()),
        ]  # fmt: skip
    outputs = tuple(
        (stage.name, path, md5) for stage in run.lock.values() for path, md5 in stage.outs.items()
    )
    before = {} if revision.former is None else {one.name: one for one in revision.former.params}
    params = tuple(
        (name, _value(value), _value(before[name].before) if name in before else "")
        for name, value in dvc_lock.params_of(run.lock.values()).items()
    )
    return (
        elements.definitions(pairs),
        *_since(run),
        elements.table(
            Table(("parameter", "value", "in the run before, if other"), params, "lll"),
            caption="Parameters in dvc.lock.",
            summary=f"All {len(params)} parameters",
        ),
        elements.table(
            Table(("stage", "output", "MD5 in dvc.lock"), outputs, "lll"),
            caption="The outputs of the pipeline in dvc.lock.",
            summary=f"All {len(outputs)} outputs with their hashes",
        ),
    )


def _tree(changed: tuple[str, ...]) -> str:
    if not changed:
        return "as committed"
    named, more = list(changed[:_NAMED_FILES]), len(changed[_NAMED_FILES:])
    return f"not committed: {words.listed([*named, f'{more} more'] if more else named)}"


def _since(run: Run) -> list[Markup]:
    former = run.revision.former
    if former is None:
        return [elements.paragraphs(["There is no earlier run in the history that this clone has."])]
    same = "The data are the same." if former.same_data else "The data are others."
    said = [
        f"The run before is that of commit {former.commit.hash[:_HASH]} of {former.commit.date}: "
        f"{former.commit.subject}. {same}",
        f"Code that differs: {words.listed(list(former.code))}." if former.code else "The code is the same.",
    ]
    if not former.params:
        return [elements.paragraphs([*said, "The parameters are the same."])]
    rows = tuple((one.name, _value(one.now), _value(one.before)) for one in former.params)
    return [
        elements.paragraphs(said),
        elements.table(
            Table(("parameter", "now", "before"), rows, "lll"),
            caption="Parameters that differ from the run before.",
        ),
    ]


def _value(value: Any) -> str:  # noqa: ANN401 - any parameter
    return "" if value is None else str(value)


def environment(run: Run) -> tuple[Markup, ...]:
    """The machine on which the pipeline ran."""
    if run.machine is None:
        return (elements.paragraphs(["Nothing records the machine, see the last section."]),)
    machine: Mapping[str, Any] = run.machine
    names = {
        "cpu": "CPU",
        "instruction_sets": "Instruction sets",
        "cores": "Cores",
        "threads": "Threads",
        "gpu": "GPU",
        "python": "Python",
        "platform": "Platform",
    }
    pairs = [(said, _said(machine[name])) for name, said in names.items() if name in machine]
    libraries = tuple((name, str(version)) for name, version in machine.get("libraries", {}).items())
    return (
        elements.paragraphs(
            [
                "The machine on which dvc.lock was made, as reference.json records it. After a run on "
                "another machine, heimdall machine --record writes it anew."
            ]
        ),
        elements.definitions(pairs),
        elements.table(
            Table(("library", "version"), libraries, "ll"),
            caption="Libraries and their versions.",
            summary=words.counted(len(libraries), "library", "libraries"),
        ),
    )


def _said(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def again(run: Run) -> tuple[Markup, ...]:
    """The commands that bring the run back and make it anew."""
    short = run.revision.commit.hash[:_HASH]
    said = []
    if run.revision.changed:
        said.append(
            "The working tree has changes that are in no commit, so no command brings exactly this run back. "
            "Commit them, and write the report again."
        )
    said.append(
        "In a clone of the repository: the first lines bring back code, data and models as dvc.lock names "
        "them; verify then rebuilds every stage but the snapshot from its inputs, and compares each output "
        "with dvc.lock."
    )
    return (
        elements.paragraphs(said),
        elements.code(
            [
                f"git checkout {short}",
                "make setup",
                "heimdall services up",
                "dvc pull",
                f"heimdall verify {short}",
                f"heimdall report {short} --output report.html",
            ]
        ),
        elements.note(
            "dvc repro runs what differs from dvc.lock: after the pull nothing, after a change what depends "
            "on it. The same revision gives the same report, byte for byte."
        ),
    )


def missing(run: Run) -> tuple[Markup, ...]:
    """What this page could not show, with what brings it."""
    rows = tuple((one.path, one.cause, one.remedy) for one in run.absent)
    return (
        elements.table(
            Table(("file", "why it is missing", "what brings it"), rows, "lll"),
            caption="Files that this report would have used.",
        ),
    )
