"""A session and its place in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from heimdall.core.determinism import recipe
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.signal.correlation import Recording
from heimdall.signal.extraction import session_features
from heimdall.signal.session_files import SessionFile, pack
from heimdall.signal.sessions import SessionFeatures

PARAMS = FeatureParams(
    n_mels=128,
    n_fft=1024,
    hop_length=256,
    f_min=0.0,
    f_max=None,
    frames=32,
    correlation_band_hz=8000.0,
    correlation_rate_hz=32000.0,
    correlation_max_lag_s=0.001,
)
POSITION_ENU_M = {k: np.array([1000.0 * k, -2000.0 * k, 10.0 * k]) for k in range(10)}


def signal(seed: int, samples: int) -> npt.NDArray[np.complex128]:
    random = generator(seed, "test.signal")
    return np.exp(0.3j * np.cumsum(random.standard_normal(samples)))


def recording(receiver: int, seed: int, *, timed: bool = True, samples: int = 8000) -> Recording:
    random = generator(seed, "test.noise", receiver)
    noise = random.standard_normal(samples) + 1j * random.standard_normal(samples)
    iq = (0.01 * (signal(seed, samples) + 0.1 * noise)).astype(np.complex64)
    return Recording(
        receiver, iq, 32000.0, 10**18 + 100 * receiver if timed else None, 50.0 if timed else None
    )


def session(seed: int, receivers: int, params: FeatureParams = PARAMS) -> SessionFeatures:
    recordings = [recording(k, seed, timed=k != 1) for k in range(receivers)]
    return session_features(recordings, POSITION_ENU_M, params)


def unpack(path: Path) -> list[SessionFeatures]:
    file = SessionFile(path)
    return [file.session(number) for number in range(len(file))]


def fields(item: SessionFeatures) -> dict[str, npt.NDArray[np.generic]]:
    return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}


@pytest.fixture(scope="module", name="packed")
def _packed() -> tuple[list[SessionFeatures], bytes]:
    made = [session(1, 3), session(2, 1), session(3, 2)]
    return made, pack(made, PARAMS)


def test_session_holds_what_fusion_needs() -> None:
    made = session(1, 3)
    expected = {
        "mel": ((3, 3, 128, 32), np.float16),
        "websdr_id": ((3,), np.int32),
        "energy_db": ((3,), np.float32),
        "snr_db": ((3,), np.float32),
        "gate": ((3,), np.float32),
        "cfo_hz": ((3,), np.float64),
        "timing_sigma_s": ((3,), np.float64),
        "delay_s": ((3,), np.float64),
        "delay_sigma_s": ((3,), np.float64),
        "rms_bandwidth_hz": ((3,), np.float64),
        "position_enu_m": ((3, 3), np.float64),
        "detected": ((3,), np.uint8),
        "pair": ((3, 2), np.int32),
        "xcorr": ((3, 65), np.complex64),
    }
    assert {name: (value.shape, value.dtype.type) for name, value in fields(made).items()} == expected
    assert made.detected.tolist() == [1, 1, 1]
    assert made.pair.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert made.timing_sigma_s == pytest.approx([50e-9, math.inf, 50e-9])
    assert made.position_enu_m[2].tolist() == [2000.0, -4000.0, 20.0]


def test_time_of_unknown_quality_is_worth_nothing() -> None:
    known = recording(0, 1)
    items = [known, dataclasses.replace(known, websdr_id=1, timing_sigma_ns=math.nan)]
    assert session_features(items, POSITION_ENU_M, PARAMS).timing_sigma_s.tolist() == [50.0 * 1e-9, math.inf]


def test_file_gives_back_what_it_was_given(
    tmp_path: Path, packed: tuple[list[SessionFeatures], bytes]
) -> None:
    made, content = packed
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    read = unpack(path)
    assert len(read) == len(made)
    for before, after in zip(made, read, strict=True):
        for name, value in fields(before).items():
            stored = getattr(after, name)
            assert (stored.dtype, stored.shape) == (value.dtype, value.shape), name
            assert stored.tobytes() == value.tobytes(), name
    assert pack(read, PARAMS) == content


def test_sessions_of_one_receiver_fit_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(pack([session(4, 1)], PARAMS))
    assert unpack(path)[0].xcorr.shape == (0, 65)


def test_seven_receivers_take_less_than_200_kb() -> None:
    assert len(pack([session(5, 7)], PARAMS)) <= 200_000


def test_empty_file_is_refused() -> None:
    with pytest.raises(ValueError, match="need at least one"):
        pack([], PARAMS)


def _damage(tensors: dict[str, npt.NDArray[np.generic]], what: str) -> dict[str, npt.NDArray[np.generic]]:
    changed = {
        "missing": {k: v for k, v in tensors.items() if k != "gate"},
        "dtype": tensors | {"mel": tensors["mel"].astype(np.float32)},
        "rank": tensors | {"cfo_hz": tensors["cfo_hz"][:, None]},
        "rows": tensors | {"snr_db": tensors["snr_db"][1:].copy()},
        "starts": tensors | {"session_start": tensors["session_start"][::-1].copy()},
        "pair": tensors | {"pair": tensors["pair"] + np.int32(1)},
    }
    return changed[what]


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("missing", r"wrong tensors: \['gate'\]"),
        ("dtype", "mel is float32, not float16"),
        ("rank", r"cfo_hz has shape \(6, 1\)"),
        ("rows", "shapes do not go together"),
        ("starts", "session_start does not divide 6 rows"),
        ("pair", "a pair reaches beyond its session"),
    ],
)
def test_file_of_something_else_is_refused_by_name(
    tmp_path: Path, packed: tuple[list[SessionFeatures], bytes], what: str, cause: str
) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(safetensors.numpy.save(_damage(safetensors.numpy.load(packed[1]), what)))
    with pytest.raises(HeimdallError, match=f"some.safetensors: .*{cause}"):
        unpack(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_damaged_or_missing_file_is_refused(
    tmp_path: Path, packed: tuple[list[SessionFeatures], bytes], kept: int
) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(packed[1][:kept])
    with pytest.raises(HeimdallError, match="no file of session features"):
        unpack(path)
    with pytest.raises(HeimdallError, match="missing"):
        unpack(tmp_path / "other.safetensors")


def _digest() -> str:
    """Of sessions at a grid rate and at one that is none, with everything that goes into a file."""
    made = [session(1, 3)]
    odd = [
        dataclasses.replace(recording(k, 2, samples=6000), sample_rate_hz=12001.25 + 0.1 * k)
        for k in range(3)
    ]
    made.append(session_features(odd, POSITION_ENU_M, PARAMS))
    return hashlib.sha256(pack(made, PARAMS)).hexdigest()


def test_same_bytes_on_any_cpu_thread_count_and_hash_seed() -> None:
    fixed = recipe(1)
    vectors = {"NPY_DISABLE_CPU_FEATURES": ""}  # whatever this CPU has, AVX-512 if it does
    conditions = [fixed, fixed | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}, fixed | vectors]
    running = [
        subprocess.Popen(
            [sys.executable, __file__], env=os.environ | condition, stdout=subprocess.PIPE, text=True
        )
        for condition in conditions
    ]
    digests = [process.communicate(timeout=120)[0].strip() for process in running]
    assert len(digests[0]) == 64
    assert len(set(digests)) == 1


if __name__ == "__main__":
    print(_digest())  # for test_same_bytes_on_any_cpu_thread_count_and_hash_seed
