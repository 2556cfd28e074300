"""Where a data set comes from: features that are there, or a database and a bucket."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from heimdall.api import features
from heimdall.core import paths, variables
from heimdall.core.errors import HeimdallError
from heimdall.network.dataset import DatasetConfig
from heimdall.storage import embedded, endpoints


@dataclass(frozen=True)
class Settings:
    """Where a data set comes from.

    If `data_dir` holds features, they are taken. If it does not, or if a database, a bucket's server or a
    moment is named here, they are made there: a snapshot of the approved measurements, and its features.

    Attributes:
        data_dir: The featurize stage's output, or any folder to make a snapshot and features in; None for
            data/features/ of the clone.
        database_url: PostgreSQL, such as postgresql://user:password@host:5432/heimdall; None for the
            configured one (HEIMDALL_DATABASE_URL), else the clone's embedded server.
        s3_endpoint_url: The S3 server, whose keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the
            environment; None for the configured one (HEIMDALL_S3_ENDPOINT_URL), else the embedded server.
        as_of: The moment of the snapshot, ISO 8601 with a time zone; None for that of params.yaml.
    """

    data_dir: Path | str | None = None
    database_url: str | None = field(default=None, repr=False)
    s3_endpoint_url: str | None = None
    as_of: str | None = None

    def features(self) -> DatasetConfig:
        """The features, made if need be; progress goes to stderr.

        Returns:
            Where they are.

        Raises:
            HeimdallError: There are none and no server is configured, or the snapshot or its features fail.
        """
        named = {
            variables.DATABASE_URL.name: self.database_url,
            variables.S3_ENDPOINT_URL.name: self.s3_endpoint_url,
        }
        services = {name: value for name, value in named.items() if value}
        folder = paths.CLONE / paths.FEATURES if self.data_dir is None else Path(self.data_dir)
        if not services and self.as_of is None:
            for made in (folder, folder / paths.FEATURES):
                if (made / paths.NETWORK).is_file():
                    return DatasetConfig(made)
            if not _servers_known():
                cause = "it holds no features, and no database is configured to make them of"
                remedy = (
                    f"Run `dvc repro featurize` and name {paths.FEATURES}; or run `heimdall services up`, or "
                    f"set {endpoints.DATABASE_VARIABLE} and {endpoints.S3_VARIABLE}"
                )
                raise HeimdallError(str(folder), cause, remedy)
        if folder.resolve() == (paths.CLONE / paths.FEATURES).resolve():
            cause = "the clone's features are made by DVC alone"
            raise HeimdallError(str(paths.FEATURES), cause, "Run `dvc repro featurize`, or name a data_dir")
        where = "the named servers" if services else "the configured servers"
        print(
            f"{folder}: a snapshot of {where} and its features are made there, if they are not yet; "
            "that takes some minutes",
            file=sys.stderr,
            flush=True,
        )
        return DatasetConfig(features.make(folder, self.as_of, services))


def _servers_known() -> bool:
    """Whether a database is configured, or the clone has embedded servers."""
    return endpoints.database_configured() or embedded.path(paths.CLONE).is_file()
