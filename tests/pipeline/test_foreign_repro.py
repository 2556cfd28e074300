"""A database that others made goes through `dvc repro` to a model by one setting, and is not changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from heimdall.storage.objectstore import ObjectStore
from tests import foreign_databases
from tests.conftest import Services
from tests.foreign_databases import Foreign
from tests.projects import Project, ran

pytestmark = pytest.mark.series
SESSIONS = 43  # of seven receivers: 301 rows


def specification(services: Services, bucket: ObjectStore, name: str) -> Foreign:
    return foreign_databases.specification(services, bucket, list(foreign_databases.sessions(SESSIONS)))


def acquisition(services: Services, bucket: ObjectStore, name: str) -> Foreign:
    made = list(foreign_databases.sessions(SESSIONS, foreign_databases.NUMBERS, slow=6))
    return foreign_databases.acquisition(services, bucket, made, raw_bucket=name)


@pytest.mark.parametrize("make", [specification, acquisition])
def test_one_setting_leads_to_a_model(
    make: Callable[[Services, ObjectStore, str], Foreign],
    make_project: Callable[[], Project],
    shared_services: Services,
) -> None:
    mine = make_project()
    bucket = mine.env["HEIMDALL_RAW_BUCKET"]
    foreign = make(shared_services, ObjectStore(shared_services.endpoints.s3, bucket), bucket)
    before = foreign.dump()
    others = {name: value for name, value in mine.env.items() if name != "HEIMDALL_DATABASE_URL"}
    reader = {"HEIMDALL_DATABASE_URL_READER": foreign.reader.endpoints.database.url}  # and nobody else's
    project = replace(mine, env=others | reader)
    source = make.__name__
    project.run("heimdall", "services", "up")
    unset = project.run("dvc", "repro", "snapshot", check=False)
    assert unset.returncode != 0
    assert "set snapshot.source in params.yaml" in unset.stdout

    project.set_params(snapshot={"source": source})
    checked = project.run("heimdall", "database", "check").stdout
    assert f"sql/{source}.sql in PostgreSQL" in checked
    output = project.run("dvc", "repro").stdout
    assert ran(output)[-1] == "export"
    assert "training sessions three receivers know GPS time" in output
    assert "Warning: the localizer is worse than" in output
    assert (project.root / "models" / "localizer.onnx").is_file()
    record = json.loads((project.root / "metrics" / "snapshot.json").read_text(encoding="utf-8"))
    assert (record["data"], record["recordings"], record["quarantined"]) == ("recorded", 7 * SESSIONS, {})
    assert record["source"]["name"] == source
    assert foreign.dump() == before
