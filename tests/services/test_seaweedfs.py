"""What another user's S3 server leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heimdall.services import seaweedfs
from heimdall.storage import embedded


def test_a_socket_of_another_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = embedded.Ports(20000)
    monkeypatch.setattr(seaweedfs, "SOCKETS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4321)
    assert seaweedfs.foreign_socket(ports) is None
    (tmp_path / "seaweedfs-master-grpc-30003.sock").touch()
    assert seaweedfs.foreign_socket(ports) is None
    theirs = tmp_path / "seaweedfs-master-grpc-20003.sock"
    theirs.touch()
    assert seaweedfs.foreign_socket(ports) == theirs
