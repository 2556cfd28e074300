"""Who may do what in S3: the embedded server has a pair of keys and a policy for each, others that policy."""

from __future__ import annotations

from enum import Enum

from heimdall.core import variables
from heimdall.core.variables import Variable

_ALL = (variables.RAW_BUCKET, variables.DVC_BUCKET, variables.MODELS_BUCKET)


class Identity(Enum):
    """What one process needs of S3: the buckets that it reads, and which of them it writes."""

    ADMIN = ("admin", (), ())  # makes buckets: everything is allowed
    READER = ("reader", _ALL, ())
    SNAPSHOT = ("snapshot", (variables.RAW_BUCKET,), ())
    WRITER = ("writer", (variables.RAW_BUCKET,), (variables.RAW_BUCKET,))
    REMOTE = ("remote", (variables.DVC_BUCKET,), (variables.DVC_BUCKET,))
    RELEASER = ("releaser", (variables.MODELS_BUCKET,), (variables.MODELS_BUCKET,))
    TRACKER = ("tracker", (variables.MLFLOW_BUCKET,), (variables.MLFLOW_BUCKET,))

    def __init__(self, label: str, reads: tuple[Variable, ...], writes: tuple[Variable, ...]) -> None:
        self.label = label
        self._reads = reads
        self._writes = writes

    @property
    def policy(self) -> dict[str, object]:
        """What it may do, as a policy of Amazon's. Nobody may delete, but the embedded server's ADMIN."""
        if self is Identity.ADMIN:
            made = [f"arn:aws:s3:::{bucket.read()}" for bucket in (*_ALL, variables.MLFLOW_BUCKET)]
            return _document(_allow(["s3:CreateBucket", "s3:ListBucket"], made))
        reads = [f"arn:aws:s3:::{bucket.read()}" for bucket in self._reads]
        writes = [f"arn:aws:s3:::{bucket.read()}" for bucket in self._writes]
        statements = [
            _allow(["s3:ListBucket"], reads),
            _allow(["s3:GetObject"], [f"{bucket}/*" for bucket in reads]),
        ]
        if writes:
            put = ["s3:PutObject", "s3:AbortMultipartUpload"]
            statements.append(_allow(put, [f"{bucket}/*" for bucket in writes]))
        return _document(*statements)


def _document(*statements: dict[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resources: list[str]) -> dict[str, object]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
