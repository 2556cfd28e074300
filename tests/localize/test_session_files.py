"""The files of a session, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.localize import session_files
from heimdall.recordings import iq


def test_a_recording_that_is_longer_than_any_of_the_data_is_refused(tmp_path: Path) -> None:
    for seconds, rate_hz, said in (
        (16, 48_000.0, "768000 samples, more than the 480000 of 10 s. Give at most 10 s of it"),
        (30, 48_000.0, "it is longer than 10 s at 48000 Hz. Give at most 10 s of it"),
    ):
        file = tmp_path / f"{seconds}.npy"
        file.write_bytes(iq.encode(np.ones(int(seconds * rate_hz), np.complex64)))
        with pytest.raises(HeimdallError) as caught:
            session_files.read(file, rate_hz)
        assert said in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named_before_any_model_is(tmp_path: Path) -> None:
    there = tmp_path / "websdr_1.npy"
    there.write_bytes(b"")
    session_files.require([str(there), f"2={there}"])
    with pytest.raises(HeimdallError, match=r"none\.npy: it cannot be read \(No such file"):
        session_files.require([str(there), f"2={tmp_path}/none.npy"])
    with pytest.raises(HeimdallError, match="directory"):
        session_files.require([str(tmp_path)])
