"""Commands killed at random moments of their work: nothing half visible, and typed again the same bytes.

`make test` kills each once. The whole series, 200 kills, 50 of each, prints the counts by command:

    pytest tests/pipeline/test_kills_of_commands.py --kills 50 -s

A process that has imported everything forks each victim, so the moments are in its work: half of them uniform
in all of it, half in its last fifth or, for the snapshot, in the moments after its results begin to change.
They are drawn from a seed, within the duration of the latest run that nothing disturbed. A commit takes no
time that such a draw would hit: what writes rows is killed once more after its last commit, and, in the whole
series, after so many of its statements, between two files of a migration, say.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from heimdall.core import artifacts
from heimdall.ingest import ingest
from heimdall.ingest.ingest import Approval
from heimdall.recordings import archive, iq
from heimdall.release import audit_log, registry
from heimdall.release.bucket import ConditionalStore
from heimdall.reproduce import git
from heimdall.storage import connection, migrate
from heimdall.storage.connection import Cursor
from heimdall.storage.objectstore import object_key
from tests import REPOSITORY
from tests.conftest import Buckets, Services, as_clone
from tests.ingest.test_ingest import (
    APPROVAL,
    APPROVED,
    NORTH,
    PLACE,
    RECEIVERS,
    SOUTH,
    START_NS,
    TRANSMISSION,
    WEST,
    recording,
    wav_files,
)
from tests.pipeline.test_release import bucket, clone, store  # noqa: F401 - fixtures
from tests.projects import Project
from tests.recorded import cut_sessions

SEED = 21
PATHS = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "src")))
LATE = 0.8  # of the run: half of the moments come when the most is written
WRITING_S = 0.03  # a snapshot writes its files so fast
DRAWS = 40  # a run may end before its moment, as a machine is not always equally fast
Content = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One victim, ready to run.

    Attributes:
        words: The command.
        folder: Where it is typed.
        env: Its environment.
        visible: What others see now; AssertionError where that is half of something.
        watch: The folder of its results, if they are written within moments.
        statements: Whether it is killed between its statements in PostgreSQL, too.
    """

    words: list[str]
    folder: Path
    env: dict[str, str]
    visible: Callable[[], Content]
    watch: Path | None = None
    statements: bool = False


class Victims:
    """The warm process."""

    def __init__(self, **env: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victims.py"))],
            cwd=REPOSITORY,
            env=os.environ | env | {"HEIMDALL_RECIPE": "off", "PYTHONPATH": PATHS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def run(
        self,
        case: Case,
        kill_after_s: float | None = None,
        watch: Path | None = None,
        kill_after_step: int | None = None,
    ) -> dict[str, Any]:
        """Run a command to its end, or to its kill: after seconds, a change in a folder, or a step."""
        assert self._process.stdin is not None
        env = case.env | {"HEIMDALL_RECIPE": "off"}
        wanted = {
            "words": case.words,
            "folder": str(case.folder),
            "env": env,
            "kill_after_s": kill_after_s,
            "watch": watch and str(watch),
            "statements": case.statements,
            "kill_after_step": kill_after_step,
        }
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.end()


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


def series(name: str, victims: Victims, kills: int, ready: Callable[[int], Case]) -> None:
    """Kill a command so often; each time a case of its own is finished by the same command.

    Args:
        name: Of the command, for the seed and the count.
        victims: The warm process.
        kills: How many.
        ready: Makes case number n; cases of the same `n % 2` end with the same content.
    """
    wanted, durations_s, steps = {}, {}, {}
    for kind in range(min(2, kills)):  # the undisturbed ones
        case = ready(kind)
        done = victims.run(case)
        assert done["code"] == 0, done["output"]
        wanted[kind], durations_s[kind], steps[kind] = case.visible(), done["took_s"], done["steps"]
    random = Random(f"{SEED} {name}")  # noqa: S311 - to be repeatable, not secret
    before, between, after, missed = 0, 0, 0, 0
    numbers = itertools.count(2)
    for kill in range(kills):
        kind = kill % 2
        for _ in range(DRAWS):
            number = next(numbers)
            case = ready(number if number % 2 == kind else next(numbers))
            empty = case.visible()
            moment_s = random.uniform(LATE if kill % 4 > 1 else 0, 1) * durations_s[kind]
            watch = case.watch if kill % 4 > 1 else None
            if watch:
                moment_s = random.uniform(0, WRITING_S)
            done = victims.run(case, moment_s, watch)
            if done["code"] < 0:
                break
            missed += 1
            durations_s[kind] = done["took_s"] if watch is None else durations_s[kind]  # it is faster now
        else:
            raise AssertionError(f"{name} ended before each of {DRAWS} moments")
        about = f"kill {kill} of {name}, seed {SEED}, after {moment_s:.3f} of {durations_s[kind]:.3f} s"
        found = finished(about, victims, case, empty, wanted[kind])
        before, between, after = (sum(pair) for pair in zip((before, between, after), found, strict=True))
    for kind, last in steps.items():
        for step in sorted({*(random.sample(range(1, last), min(kills, last) // 2)), last} - {0}):
            number = next(numbers)
            case = ready(number if number % 2 == kind else next(numbers))
            empty = case.visible()
            assert victims.run(case, kill_after_step=step)["code"] < 0
            about = f"{name} killed after step {step} of {last}"
            found = finished(about, victims, case, empty, wanted[kind])
            assert step < last or found == (0, 0, 1), f"{about}, the last commit: not all was done"
            before, between, after = (sum(pair) for pair in zip((before, between, after), found, strict=True))
    mean_s = sum(durations_s.values()) / len(durations_s)
    print(
        f"\n{name}: {before + between + after} kills within {mean_s:.2f} s: {before} before anything was "
        f"written, {between} between steps, {after} when all was done; {missed} draws came too late; all "
        "finished with the same bytes"
    )


def finished(
    about: str, victims: Victims, case: Case, empty: Content, wanted: Content
) -> tuple[bool, bool, bool]:
    """Look at what a killed command left, and finish it. Whether that was nothing, something, or all."""
    try:
        seen = case.visible()
    except AssertionError as error:
        raise AssertionError(f"{about}: half visible: {error}") from None
    again = victims.run(case)
    assert again["code"] == 0, f"{about}: {again}"
    assert case.visible() == wanted, f"{about}: other bytes"
    return seen == empty, seen not in (empty, wanted), seen == wanted


def new_database(services: Services, template: str) -> Services:
    """A database as another one is."""
    fresh = services.with_database(f"kills_{uuid.uuid4().hex[:12]}")
    with closing(connection.connect(services.endpoints.database)) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor:
            cursor.execute(
                f'CREATE DATABASE "{fresh.endpoints.database.name.rsplit("/")[-1]}" TEMPLATE "{template}"'
            )
    return fresh


def rows_of(services: Services, table: str) -> list[tuple[Any, ...]]:
    """All rows of one of our tables."""
    with closing(connection.connect(services.endpoints.database)) as opened, opened.cursor() as cursor:
        cursor.execute(f"SELECT * FROM heimdall.{table} ORDER BY 1")  # noqa: S608 - a constant
        return [tuple(map(str, row)) for row in cursor.fetchall()]


@pytest.fixture
def migrated(database: Services) -> tuple[Services, str]:
    """A server, and the name of a database with empty tables, to be copied."""
    return database, database.endpoints.database.name.rsplit("/")[-1]


def test_ingest(
    victims: Victims, kills: int, migrated: tuple[Services, str], buckets: Buckets, tmp_path: Path
) -> None:
    """Rows without objects are not there; either all rows are there, or none."""
    as_clone(tmp_path)
    raw = buckets.raw
    words = [
        "heimdall",
        "ingest",
        *wav_files(tmp_path, 20 * 24),
        *PLACE,
        *RECEIVERS,
        "--source",
        "dcf77",
        *APPROVAL,
    ]

    def ready(number: int) -> Case:
        fresh = new_database(*migrated)
        for stale in raw.head_all(""):
            raw.delete(stale)

        def visible() -> Content:
            rows = rows_of(fresh, "measurements")
            assert len(rows) in {0, 38}
            objects = {key: hashlib.sha256(raw.get(key, 10**6)).hexdigest() for key in raw.head_all("")}
            for row in rows:
                key = object_key(row[1], int(row[2]))
                assert key in objects, f"a row without {key}"
            for key in objects:
                iq.decode(raw.get(key, 10**6), 12_001.13, 1.1)
            others = {table: rows_of(fresh, table) for table in ("websdrs", "sources")}
            assert all(bool(found) == bool(rows) for found in others.values())
            return {"rows": rows, **others, "objects": objects}

        return Case(words, tmp_path, fresh.env, visible, statements=True)

    series("heimdall ingest", victims, kills, ready)


SHAPE = """
SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema !~ '^(pg_|information_schema)'
ORDER BY 1, 2, ordinal_position;
"""
INDEXES = "SELECT schemaname, indexname, indexdef FROM pg_indexes WHERE schemaname !~ '^pg_' ORDER BY 1, 2"
CONSTRAINTS = (
    "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2"
)
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1"


def alone(cursor: Cursor) -> None:
    """Wait until the server has ended what a killed command had begun: it may commit without it."""
    for _ in range(200):
        cursor.execute(
            "SELECT pg_stat_clear_snapshot(); SELECT count(*) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database() "
            "AND backend_type = 'client backend'"
        )
        if cursor.fetchone() == (0,):
            return
        time.sleep(0.05)
    raise AssertionError("a killed command's connection does not end")


def test_migrate(
    victims: Victims, kills: int, database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd cases have the tables of earlier revisions in the schema public, with rows, which are moved."""
    as_clone(tmp_path)
    former = new_database(database, "template1")
    monkeypatch.setenv("HEIMDALL_DATABASE_SCHEMA", "public")
    with closing(connection.connect(former.endpoints.database)) as opened:
        migrate.apply(opened)
        with opened, opened.cursor() as cursor:
            cursor.execute(
                "INSERT INTO public.websdrs SELECT n, 'R' || n, 45, 7, 100 FROM generate_series(1, 500) n; "
                "DELETE FROM public.heimdall_migrations WHERE name >= '004'; "  # as revisions before schemas
                "ALTER TABLE public.measurements ALTER latitude SET NOT NULL, ALTER longitude SET NOT NULL"
            )
    monkeypatch.delenv("HEIMDALL_DATABASE_SCHEMA")
    name = former.endpoints.database.name.rsplit("/")[-1]

    def ready(number: int) -> Case:
        fresh = new_database(database, name if number % 2 else "template1")

        def visible() -> Content:
            with (
                closing(connection.connect(fresh.endpoints.database)) as opened,
                opened,
                opened.cursor() as cursor,
            ):
                alone(cursor)  # one look is several statements, which must not stand about a commit
                found: Content = {}
                for part in (SHAPE, INDEXES, CONSTRAINTS, SCHEMAS):
                    cursor.execute(part)
                    found[part] = cursor.fetchall()
                homes = {row[0] for row in found[SHAPE]}
                assert len(homes) <= 1, f"tables in {homes}"
                tables = {row[1] for row in found[SHAPE]}
                assert tables in (set(), {*migrate.TABLES, migrate.RECORD}), f"only {tables}"
                for home in homes:
                    cursor.execute(f"SELECT * FROM {home}.websdrs ORDER BY 1")  # noqa: S608 - one of two
                    found["rows"] = cursor.fetchall()
                    cursor.execute(f"SELECT name, sha256 FROM {home}.{migrate.RECORD} ORDER BY 1")  # noqa: S608
                    found["record"] = cursor.fetchall()
                    assert len(found["record"]) == (3 if home == "public" else len(migrate.files()))
                    assert len(found["rows"]) == 500 * (number % 2)
                return found

        return Case(["heimdall", "database", "migrate"], tmp_path, fresh.env, visible, statements=True)

    series("heimdall database migrate", victims, kills, ready)


def test_snapshot(victims: Victims, kills: int, database: Services, buckets: Buckets, tmp_path: Path) -> None:
    """Odd cases have a former snapshot, which stays whole until the new one is there."""
    seconds = {NORTH: 1, SOUTH: 2, WEST: 3}
    recordings = {site: [recording(START_NS, 12.2, seed)] for site, seed in seconds.items()}
    sessions = cut_sessions(recordings, 0.0775)
    early, late = sessions[:8], sessions[8:]
    ingest.store(early, TRANSMISSION, Approval(APPROVED), database.endpoints)
    ingest.store(late, TRANSMISSION, Approval(APPROVED.replace(day=3)), database.endpoints)
    buckets.raw.delete(min(buckets.raw.head_all("")))

    def folder(place: Path, day: int) -> Path:
        shutil.copytree(REPOSITORY / "sql", place / "sql", dirs_exist_ok=True)
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        params["snapshot"] |= {
            "source": "own",
            "as_of": f"2026-02-{day:02d}T12:00:00Z",
            "shard_sessions": 2,
            "max_quarantined_fraction": 0.5,
        }
        (place / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        return place

    script = [str(REPOSITORY / "stages" / "snapshot.py")]
    former = Case(script, folder(as_clone(tmp_path / "former"), 2), database.env, dict)
    done = victims.run(former)
    assert done["code"] == 0, done["output"]

    def ready(number: int) -> Case:
        place = tmp_path / str(number)
        if number % 2:
            shutil.copytree(former.folder, place)
        else:
            as_clone(place)
        folder(place, 4)

        def visible() -> Content:
            tops = (place / "data", place / "metrics")
            files = [path for top in tops for path in top.rglob("*") if path.is_file()]
            files = [path for path in files if not path.name.startswith(".partial-")]
            found = {str(path.relative_to(place)): artifacts.sha256_file(path) for path in files}
            if (place / archive.SNAPSHOT / archive.MEASUREMENTS_FILE).exists():
                rows = archive.read_measurements(place)
                for shard in rows["shard"].unique():
                    archive.read_shard(archive.shard_path(shard, place))  # fails on a single bit
                assert set(rows["websdr_id"]) <= set(archive.read_receivers(place)["websdr_id"])
            for path in files:
                if path.suffix == ".parquet":
                    artifacts.require(path, remedy="")
            return found

        return Case(script, place, database.env, visible, watch=place / "data")

    series("stages/snapshot.py", victims, kills, ready)


@pytest.mark.timeout(3000)
def test_release(kills: int, clone: Project, store: ConditionalStore) -> None:  # noqa: F811
    """A version is released whole or not at all; what others read of it never changes."""

    def ready(number: int) -> Case:
        version = f"v0.1.{number}"
        clone.commit(f"Model {number}")  # a commit is one version
        commit = git.commit_of(clone.root, "HEAD")

        def visible() -> Content:
            keys = sorted(key.removeprefix(version) for key in store.head_all(f"{version}/"))
            made = registry.read_release(store, version)
            if made is None:
                return {"keys": keys}
            registry.require_whole(store, made[0])
            content = {"keys": keys} | dataclasses.asdict(
                replace(made[0], version="", commit="", released_at="", files={})
            )
            for file in registry.FILES:
                body = store.get(f"{version}/{file}", 10**8)
                assert artifacts.sha256_bytes(body) == made[0].files[file]
                body = body.replace(version.encode(), b"VERSION").replace(commit.encode(), b"COMMIT")
                content[file] = artifacts.sha256_bytes(body)
            entries = [entry for entry in audit_log.read(store) if entry.version == version]
            content["entries"] = [entry.action for entry in entries]
            tags = clone.run("git", "tag", "--list", f"*{version}").stdout.split()
            content["tags"] = [tag.replace(version, "VERSION") for tag in tags]
            return content

        words = ["heimdall", "release", version, "--skip-verify"]
        return Case(words, clone.root, clone.env, visible)

    victims = Victims(**clone.env)
    series("heimdall release", victims, kills, ready)
    victims.end()
    seen = registry.overview(store, lambda _: None)
    assert (seen.damages, seen.unfinished) == ([], [])
