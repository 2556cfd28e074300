"""What another user's S3 server leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.services import seaweedfs
from heimdall.storage import embedded


def test_a_socket_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = embedded.State(str(tmp_path), 20000, "", "", "", ("", "", "", ""))
    monkeypatch.setattr(seaweedfs, "SOCKETS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4321)
    seaweedfs.require_free_sockets(settings)
    (tmp_path / "seaweedfs-master-grpc-30003.sock").touch()
    seaweedfs.require_free_sockets(settings)
    theirs = tmp_path / "seaweedfs-master-grpc-20003.sock"
    theirs.touch()
    with pytest.raises(HeimdallError, match=f"{theirs}.*HEIMDALL_PORT_BASE"):
        seaweedfs.require_free_sockets(settings)
