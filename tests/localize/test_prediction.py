"""`heimdall predict` on real files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from heimdall.commands.predict import predict
from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator
from heimdall.formats.receivers_file import Site
from heimdall.geometry.geo import LocalFrame
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.inference.onnx_model import OnnxLocalizer, session_inputs
from heimdall.inference.preprocessing import Preprocessing
from heimdall.localize import locating, prediction, session_files
from heimdall.localize.locating import Given
from heimdall.pipeline.export.graphs import recording_graph
from heimdall.pipeline.export.onnx_file import onnx_bytes
from heimdall.recordings import iq
from heimdall.session import start_times
from heimdall.signal.arrival import Observation, arrivals
from heimdall.signal.correlation import Recording
from heimdall.signal.extraction import session_features
from heimdall.signal.features import cepstral_envelope
from heimdall.signal.log_mel import recording_features
from tests import REPOSITORY, known_sessions
from tests.feature_world import RECORD, untrained

RATE_HZ = 48_000.0
SAMPLES = 24_000
# Not those of params.yaml: the file must be believed.
FEATURES = dataclasses.replace(params.load(REPOSITORY / "params.yaml").features, f_max=20_000.0)
MADE_OF = RECORD | {"params": RECORD["params"] | {"features": dataclasses.asdict(FEATURES)}}
TRUTH_M = np.array([12_000.0, -7_000.0])
START_NS = 1_400_000_000_000_000_000
SIGMA_NS = 50.0
COMMON = ("--sample-rate-hz", "48000")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "localizer.onnx"
    graph = recording_graph(untrained(), (3, 128, 32))
    path.write_bytes(onnx_bytes(graph, MADE_OF, opset=18))
    return path


@pytest.fixture(scope="module")
def fusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the export's tests, which says that its features are others."""
    path = tmp_path_factory.mktemp("models") / "fusion.onnx"
    graph = onnx.load_model_from_string(known_sessions.exported())
    (stored,) = (entry for entry in graph.metadata_props if entry.key == "params")
    stored.value = json.dumps(MADE_OF["params"])
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return path


def session_recordings() -> list[Recording]:
    """One band-limited noise at the five receivers, as late as their distances say."""
    random = generator(1, "test predict session")
    frequency_hz = np.fft.fftfreq(SAMPLES, 1 / RATE_HZ)
    spectrum = random.normal(size=SAMPLES) + 1j * random.normal(size=SAMPLES)
    spectrum = np.where(np.abs(frequency_hz) < 3000, spectrum, 0)
    delay_s = (
        distances_m(TRUTH_M, known_sessions.RECEIVERS.position_m, known_sessions.PLANE) / SPEED_OF_LIGHT_M_S
    )
    found = []
    for websdr_id, delay in zip(known_sessions.RECEIVERS.websdr_id.tolist(), delay_s.tolist(), strict=True):
        noise = random.normal(size=SAMPLES) + 1j * random.normal(size=SAMPLES)
        signal = np.fft.ifft(spectrum * np.exp(-2j * np.pi * frequency_hz * delay))
        samples = (signal / np.abs(signal).std() + 0.2 * noise).astype(np.complex64)
        found.append(Recording(websdr_id, 0.1 * samples, RATE_HZ, START_NS, SIGMA_NS))
    return found


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings of a session, as in the bucket, and their times."""
    folder = tmp_path_factory.mktemp("session")
    lines = ["websdr_id,start_gps_ns,timing_sigma_ns"]
    for item in session_recordings():
        (folder / f"websdr_{item.websdr_id}.npy").write_bytes(iq.encode(item.iq))
        lines.append(f"{item.websdr_id},{START_NS},{SIGMA_NS}")
    (folder / "times.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    random = generator(1, "test predict")
    samples = 0.1 * (random.normal(size=SAMPLES) + 1j * random.normal(size=SAMPLES))
    path = tmp_path / "recording.npy"
    path.write_bytes(iq.encode(samples.astype(np.complex64)))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(predict, [str(item) for item in arguments], catch_exceptions=False)


def message_of(*arguments: object) -> str:
    with pytest.raises(HeimdallError) as caught:
        run(*arguments)
    return str(caught.value)


def test_session_gets_one_answer_which_is_that_of_the_pipelines_own_steps(
    fusion: Path, session: Path
) -> None:
    files = sorted(session.glob("websdr_*.npy"), reverse=True)  # the order does not matter
    result = run(
        *files,
        "--model",
        fusion,
        "--frequency-mhz",
        145.5,
        "--times",
        session / "times.csv",
        "--json",
        *COMMON,
    )
    assert result.stderr == ""
    found = json.loads(result.stdout)
    positions = dict(enumerate(known_sessions.RECEIVERS.position_m, start=1))
    features = session_features(session_recordings(), positions, FEATURES)
    observed = Observation(features, arrivals(features, FEATURES, SAMPLES / RATE_HZ), 145.5e6)
    tokens = known_sessions.TOKENIZER.tokens(observed)
    answer = OnnxLocalizer.open(fusion).answer([session_inputs([tokens])])
    assert [found["latitude_deg"], found["longitude_deg"]] == answer["positions"][0].tolist()
    np.testing.assert_allclose(
        [found["sigma_east_m"], found["sigma_north_m"]], answer["uncertainties"][0], rtol=1e-6
    )
    assert found["probability_within_1km"] == answer["localizable"][0]
    assert found["receivers_heard"] == found["receivers_timed"] == [1, 2, 3, 4, 5]
    assert found["latency_ms"] > 0
    assert found["weight"] + sum(one["weight"] for one in found["alternatives"]) <= 1 + 1e-9


def test_a_receiver_that_was_switched_off_says_nothing(fusion: Path, session: Path) -> None:
    files = sorted(session.glob("websdr_*.npy"))[:4]
    given = ("--model", fusion, "--frequency-mhz", 145.5, "--times", session / "times.csv", *COMMON)
    silent = json.loads(run(*files, *given, "--json").stdout)
    found = json.loads(run(*files, *given, "--json", "--absent", 5).stdout)
    recordings = [item for item in session_recordings() if item.websdr_id != 5]
    preprocessing = Preprocessing.of(OnnxLocalizer.open(fusion).metadata, "the model")
    observed = dataclasses.replace(preprocessing.observation(recordings, 145.5e6), absent=(5,))
    tokens = preprocessing.tokenizer.tokens(observed)
    answer = OnnxLocalizer.open(fusion).answer([session_inputs([tokens])])
    assert [found["latitude_deg"], found["longitude_deg"]] == answer["positions"][0].tolist()
    assert found["weight"] != silent["weight"]
    for number, cause in ((2, "it has a recording"), (77, "the model's network has 1, 2")):
        assert cause in message_of(*files, *given, "--absent", number)


def test_a_recording_is_as_late_as_the_models_calibration_says(fusion: Path) -> None:
    late = [
        dataclasses.replace(item, start_gps_ns=START_NS + 2500) if item.websdr_id == 2 else item
        for item in session_recordings()
    ]
    metadata = OnnxLocalizer.open(fusion).metadata
    calibration = {"calibration": {"delay_ns": {"websdr_2": 2500}}}
    knowing = metadata | {"params": metadata["params"] | calibration}
    found, corrected, right = (
        Preprocessing.of(said, "file").observation(recordings, 145.5e6).arrivals.delay_s
        for said, recordings in ((metadata, late), (knowing, late), (metadata, session_recordings()))
    )
    np.testing.assert_array_equal(corrected, right)
    assert np.ptp(found - right) == pytest.approx(2.5e-6, abs=1e-7)


def test_times_bring_the_answer_to_the_truth_and_without_them_it_says_so(fusion: Path, session: Path) -> None:
    files = sorted(session.glob("websdr_*.npy"))
    common = ("--model", fusion, "--frequency-mhz", 145.5, "--json", *COMMON)
    timed = json.loads(run(*files, *common, "--times", session / "times.csv").stdout)
    untimed = run(*files, *common)
    assert "--times is not given: the answer comes from received levels alone" in untimed.stderr
    blind = json.loads(untimed.stdout)
    assert blind["receivers_timed"] == []

    def error_m(found: dict[str, float]) -> float:
        east, north = known_sessions.PLANE.to_local(found["latitude_deg"], found["longitude_deg"])
        return math.hypot(float(east) - TRUTH_M[0], float(north) - TRUTH_M[1])

    assert error_m(timed) < 500 < error_m(blind)
    assert timed["probability_within_1km"] > blind["probability_within_1km"]


def test_noise_alone_is_no_position_and_has_an_exit_code(fusion: Path, recording: Path) -> None:
    given = (f"1={recording}", "--model", fusion, "--frequency-mhz", 145.5, *COMMON)
    told = run(*given)
    assert told.exit_code == 3
    assert told.stdout.startswith("no receiver hears a signal: there is nothing to locate\n")
    assert "%" not in told.stdout
    found = json.loads(run(*given, "--json").stdout)
    assert (found["latitude_deg"], found["weight"], found["alternatives"]) == (None, None, [])
    assert found["receivers_heard"] == []


def test_a_receiver_without_an_arrival_time_is_told_why(fusion: Path, session: Path, tmp_path: Path) -> None:
    given = ("--model", fusion, "--frequency-mhz", 145.5, *COMMON)
    files = [session / f"websdr_{websdr_id}.npy" for websdr_id in (1, 2, 3)]
    times = tmp_path / "times.csv"
    late = START_NS + 10 * 10**9
    times.write_text(
        start_times.text([(1, START_NS, SIGMA_NS), (2, START_NS, SIGMA_NS), (3, late, SIGMA_NS)])
    )
    shown = run(*files, *given, "--times", times).stdout
    assert (
        "receivers without a usable arrival time: 3 (its recording starts at another time than the others)\n"
        in shown
    )
    late = START_NS + 20 * 10**6
    times.write_text(
        start_times.text([(1, START_NS, SIGMA_NS), (2, START_NS, SIGMA_NS), (3, late, SIGMA_NS)])
    )
    shown = run(*files, *given, "--times", times).stdout
    assert "receivers that hear the signal: 1, 2, 3; receivers with a usable arrival time: 1, 2\n" in shown
    assert "arrival time: 3 (the other recordings contradict the time of the first sample)\n" in shown
    times.write_text(start_times.text([(1, START_NS, SIGMA_NS)]))
    shown = run(*files, *given, "--times", times).stdout
    assert "usable arrival time: 1 (no other receiver that hears the signal has a time)\n" in shown
    assert "usable arrival time: 2, 3 (the time of the first sample is not given)\n" in shown
    alone = run(files[0], *given)
    assert "only one receiver hears the signal" in alone.stdout
    assert "100.0%" not in alone.stdout


def test_what_a_person_should_know_comes_with_the_answer_and_not_before_an_error(
    fusion: Path, session: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "websdr_2.npy"
    silent.write_bytes(iq.encode(np.zeros(SAMPLES, np.complex64)))
    given = ("--model", fusion, "--frequency-mhz", 145.5, *COMMON)
    with pytest.raises(HeimdallError, match="all 24000 samples are zero"):
        run(session / "websdr_1.npy", silent, *given)
    long = tmp_path / "websdr_3.npy"
    long.write_bytes(iq.encode(np.tile(np.load(session / "websdr_3.npy"), 4)))
    assert (
        "the longest recording lasts 2.0 s: the accuracy of the arrival times is computed for 2.0 s"
        in run(long, *given).stderr
    )


def test_session_is_told_as_a_table_with_units(fusion: Path, session: Path, tmp_path: Path) -> None:
    other = tmp_path / "second.npy"
    other.write_bytes((session / "websdr_2.npy").read_bytes())
    lines = run(
        session / "websdr_1.npy", f"2={other}", session / "websdr_5.npy",
        "--model", fusion, "--frequency-mhz", 145.5, "--times", session / "times.csv", *COMMON,
    )  # fmt: skip
    assert "these receivers have a start time but no recording: 3, 4" in lines.stderr
    head, position, *rest = lines.stdout.splitlines()
    assert "sigma E x N, m" in head
    assert "95 % ellipse, m, azimuth" in head
    assert position.startswith("position")
    assert rest[-3].startswith("the transmitter is within 1 km of the position with probability ")
    assert rest[-2] == (
        "receivers that hear the signal: 1, 2, 5; receivers with a usable arrival time: 1, 2, 5"
    )
    assert rest[-1] == "The model was trained on simulated data."


@pytest.mark.parametrize("rows", ["", "91,1000000000000000000,50\n"])
def test_times_of_no_recording_are_told(fusion: Path, session: Path, tmp_path: Path, rows: str) -> None:
    times = tmp_path / "times.csv"
    times.write_text(f"websdr_id,start_gps_ns,timing_sigma_ns\n{rows}")
    given = ("--model", fusion, "--frequency-mhz", 145.5, "--times", times, *COMMON)
    assert (
        "--times has no row of a receiver that made a recording"
        in run(session / "websdr_1.npy", *given).stderr
    )


def test_ellipse_is_that_of_the_whole_covariance() -> None:
    # 300 m along 30 degrees from north, 100 m across.
    axis, across = np.array([0.5, math.sqrt(3) / 2]), np.array([math.sqrt(3) / 2, -0.5])
    covariance = 300.0**2 * np.outer(axis, axis) + 100.0**2 * np.outer(across, across)
    place = prediction.place(np.array([45.0, 8.0]), covariance, 1.0)
    radius = math.sqrt(5.991464547)
    assert place.ellipse_azimuth_deg == pytest.approx(30)
    assert place.ellipse_95_major_m == pytest.approx(300 * radius)
    assert place.ellipse_95_minor_m == pytest.approx(100 * radius)
    assert place.sigma_east_m == pytest.approx(math.sqrt(covariance[0, 0]))


def test_tiles_that_meet_are_one_place_and_another_crossing_is_an_alternative() -> None:
    frame = LocalFrame(45.0, 8.0)
    east_m, north_m = np.array([0.0, 20_000.0, 150.0, 20_100.0]), np.zeros(4)
    answer = {
        "weights": np.array([[0.4, 0.2, 0.1, 0.3]]),
        "means_deg": np.stack(frame.to_degrees(east_m, north_m), -1)[None],
        "covariances": np.broadcast_to(np.eye(2) * 100.0**2, (1, 4, 2, 2)),
        "positions": np.stack(frame.to_degrees(east_m[:1], north_m[:1]), -1),
        "covariance": np.eye(2)[None] * 100.0**2,
    }
    first, second = prediction.places(answer)
    assert [first.weight, second.weight] == pytest.approx([0.5, 0.5])
    assert first.longitude_deg == 8.0
    assert second.longitude_deg == answer["means_deg"][0, 3, 1]  # the heavier of the two


def test_what_does_not_say_the_session_is_refused(fusion: Path, session: Path, tmp_path: Path) -> None:
    one, common = session / "websdr_1.npy", ("--model", fusion, "--frequency-mhz", 145.5, *COMMON)
    odd = tmp_path / "odd.npy"
    odd.write_bytes(one.read_bytes())
    assert message_of(f"77={odd}", *common).startswith("receiver 77: it is none of the network's (1, 2, 3,")
    with pytest.raises(HeimdallError, match="does not say which receiver"):
        session_files.named_files([str(odd)])
    with pytest.raises(HeimdallError, match="receiver 1 has another file"):
        session_files.named_files([str(one), f"1={odd}"])
    assert "give --frequency-mhz" in run(one, "--model", fusion).stderr


def test_json_is_what_the_model_says_of_the_models_own_features(single: Path, recording: Path) -> None:
    result = run(recording, recording, "--model", single, "--json", *COMMON)
    first, second = json.loads(result.stdout)
    kept = ("n_mels", "n_fft", "hop_length", "f_min", "f_max", "frames")
    mel_db = recording_features(
        np.load(recording, allow_pickle=False), RATE_HZ, **{name: getattr(FEATURES, name) for name in kept}
    )
    estimate = OnnxLocalizer.open(single).estimate(mel_db[np.newaxis], batch_size=1)
    assert first["latitude_deg"] == estimate.latitude_deg[0]
    assert first["longitude_deg"] == estimate.longitude_deg[0]
    assert first["sigma_north_m"] == estimate.sigma_north_m[0]
    assert first["ellipse_95_east_m"] == pytest.approx(math.sqrt(5.991465) * first["sigma_east_m"])
    assert first["latency_ms"] > 0
    assert first["file"] == str(recording)
    del first["latency_ms"], second["latency_ms"]
    assert first == second
    assert (
        "locates single recordings: leave out --frequency-mhz, --times and --absent"
        in run(recording, "--model", single, "--frequency-mhz", 145.5).stderr
    )


def test_features_are_made_as_the_model_was_trained_with_mfccs_too() -> None:
    """Files of before there were MFCCs do not name them."""
    features = FEATURES.record()
    assert "n_mfcc" not in features
    former = prediction.mel_params({"params": {"features": features}}, Path("former.onnx"))
    cepstral = prediction.mel_params({"params": {"features": features | {"n_mfcc": 13}}}, Path("new.onnx"))
    assert cepstral == former | {"n_mfcc": 13}
    iq = np.exp(2j * np.pi * 0.1 * np.arange(20_000)).astype(np.complex64)
    picture = recording_features(iq, RATE_HZ, **former)
    envelope = recording_features(iq, RATE_HZ, **cepstral)
    np.testing.assert_array_equal(envelope, cepstral_envelope(picture, 13))


def test_table_has_units_and_one_line_a_recording(single: Path, recording: Path) -> None:
    lines = run(recording, "--model", single, *COMMON).stdout.splitlines()
    assert len(lines) == 3
    assert "sigma E x N, m" in lines[0]
    assert lines[1].startswith(str(recording))
    assert lines[2] == "The model was trained on simulated data."


def test_bad_files_are_named(single: Path, recording: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.npy"
    silent.write_bytes(iq.encode(np.zeros(192_000, np.complex64)))
    assert message_of(silent, "--model", single).startswith(f"{silent}: all 192000 samples are zero")
    short = tmp_path / "short.npy"
    short.write_bytes(iq.encode(np.ones(2_000, np.complex64)))
    assert message_of(short, "--model", single, "--sample-rate-hz", 16000).startswith(
        f"{short}: 2000 samples are too few"
    )
    assert "cannot be read" in message_of(tmp_path / "missing.npy", "--model", single)
    assert "no ONNX localizer" in message_of(recording, "--model", recording)


@pytest.mark.parametrize("kind", ["single", "fusion"])
def test_model_that_does_not_say_how_its_inputs_are_made_is_refused(
    kind: str, recording: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    graph = onnx.load(request.getfixturevalue(kind))
    del graph.metadata_props[:]
    path = tmp_path / "localizer.onnx"
    onnx.save_model(graph, path)
    options = ("--frequency-mhz", 145.5) if kind == "fusion" else ()
    assert "does not say how its" in message_of(f"{recording}", "--model", path, *options)


def test_locate_says_beside_its_own_answer_what_the_model_says(
    fusion: Path, session: Path, tmp_path: Path
) -> None:
    """If it knows the receivers: the network of a model is fixed."""
    recorded = []
    known = {"sample_rate_hz": RATE_HZ, "start_gps_ns": START_NS, "timing_sigma_ns": SIGMA_NS}
    for path in sorted(session.glob("*.npy")):
        recorded.append(shutil.copy(path, tmp_path))
        (tmp_path / path.name).with_suffix(".json").write_text(json.dumps(known))
    places = known_sessions.PLANE.to_degrees(*known_sessions.RECEIVERS.position_m[:, :2].T)
    sites = [Site(f"websdr_{k}", *place, 200.0) for k, place in enumerate(zip(*places, strict=True), 1)]
    given = Given(named=tuple(sites), frequency_hz=145e6, model=fusion)
    answer = locating.answer(recorded, given, lambda line: None)
    assert answer.beside is not None
    assert answer.beside.place is not None
    arguments = (*sorted(recorded), *COMMON, "--frequency-mhz", "145", "--model", fusion, "--json")
    times = tmp_path / "times.csv"
    times.write_text((session / "times.csv").read_text())
    predicted = json.loads(run(*arguments, "--times", times).stdout)
    assert answer.beside.place.latitude_deg == pytest.approx(predicted["latitude_deg"], abs=1e-6)
    assert answer.beside.place.probability == pytest.approx(predicted["weight"])
    assert answer.beside_each == ()
    moved = [dataclasses.replace(sites[0], latitude_deg=sites[0].latitude_deg + 0.1), *sites[1:]]
    beside = locating.answer(
        recorded, dataclasses.replace(given, named=tuple(moved)), lambda line: None
    ).beside
    assert beside is not None
    assert beside.place is not None
    assert "4 of the 5 receivers are of its network" in beside.remark
    far = [dataclasses.replace(site, latitude_deg=site.latitude_deg + 3) for site in sites]
    beside = locating.answer(recorded, dataclasses.replace(given, named=tuple(far)), lambda line: None).beside
    assert beside is not None
    assert (beside.place, beside.remark) == (
        None,
        "0 of the 5 receivers are of its network, which has others",
    )
    for path in recorded[:2]:
        np.save(path, np.tile(np.load(path), 4))
    answer = locating.answer(recorded[:2], given, lambda line: None)
    assert len(answer.events) == len(answer.beside_each) == 2
    assert [one.place is not None for one in answer.beside_each] == [True, True]
    assert answer.beside is answer.beside_each[0]
    assert answer.events[0].name in answer.beside.remark


def test_a_page_and_a_picture_show_the_position_and_who_heard(
    fusion: Path, session: Path, tmp_path: Path
) -> None:
    files = sorted(session.glob("websdr_*.npy"))[:3]
    page, picture = tmp_path / "position.html", tmp_path / "position.png"
    given = (*files, "--model", fusion, "--frequency-mhz", 145.5, "--times", session / "times.csv", *COMMON)
    drawn = ("--absent", 5, "--html", page, "--png", picture)
    result = run(*given, *drawn)
    assert result.exit_code == 0
    text = page.read_text("utf-8")
    found = json.loads(run(*given, "--absent", 5, "--json").stdout)
    said = re.search(r"The transmitter is at (-?[\d.]+), ", text)
    assert said is not None
    assert float(said[1]) == pytest.approx(found["latitude_deg"], abs=0.5)  # with the digits that it deserves
    rows = re.findall(r'<tr><td class="l">(WebSDR \d)</td><td class="l">([^<]+)</td>', text)
    assert dict(rows) == {
        "WebSDR 1": "hears the signal",
        "WebSDR 2": "hears the signal",
        "WebSDR 3": "hears the signal",
        "WebSDR 4": "no recording, counted as hearing nothing",
        "WebSDR 5": "no usable recording, counted as unknown",
    }
    # Deviations and ellipses are in metres or kilometres, and sorted by metres.
    sized = re.findall(r'<td class="r" data-key="([^"]+)">([\d.,]+) (k?m) x ([\d.,]+) (k?m)</td>', text)
    assert len(sized) >= 2
    for key, *said in sized:
        one_m, other_m = (
            float(value.replace(",", "")) * {"m": 1, "km": 1000}[unit] for value, unit in (said[:2], said[2:])
        )
        assert float(key) == pytest.approx(max(one_m, other_m), rel=0.06)
    for kind in ("receiver", "unrecorded", "absent", "place"):
        assert f'class="symbol {kind}"' in text
    assert "Nothing says whether the recordings are simulated" in text
    first = page.read_bytes(), picture.read_bytes()
    run(*given, *drawn)
    assert (page.read_bytes(), picture.read_bytes()) == first


def test_a_page_of_noise_says_that_nobody_hears_anything(
    fusion: Path, recording: Path, tmp_path: Path
) -> None:
    page = tmp_path / "nothing.html"
    given = (f"1={recording}", "--model", fusion, "--frequency-mhz", 145.5, *COMMON, "--html", page)
    assert run(*given).exit_code == 3
    assert "No receiver hears a signal" in page.read_text("utf-8")


def test_recordings_that_are_located_one_by_one_are_on_one_map(
    single: Path, recording: Path, tmp_path: Path
) -> None:
    page, picture = tmp_path / "all.html", tmp_path / "all.png"
    assert run(recording, "--model", single, *COMMON, "--html", page, "--png", picture).exit_code == 0
    text = page.read_text("utf-8")
    assert 'class="symbol event"' in text
    # The page names the recording, and not the folders in which its author has it.
    assert recording.name in text
    assert str(recording.parent) not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
