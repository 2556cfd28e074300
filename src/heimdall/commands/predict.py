"""`heimdall predict`: the exported model on recordings."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from heimdall import iq
from heimdall.errors import HeimdallError
from heimdall.features import iq_to_mel_spectrogram
from heimdall.inference import OnnxLocalizer
from heimdall.metrics import chi_square_2

MAX_DURATION_S = 60.0
# What `iq_to_mel_spectrogram` takes of the parameters that the model was trained with.
_MEL_PARAMS = ("n_mels", "n_fft", "hop_length", "f_min", "f_max", "frames")


@dataclass(frozen=True)
class Prediction:
    """Where one recording's transmitter is.

    Attributes:
        file: The recording.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        sigma_east_m: Standard deviation to the east, metres.
        sigma_north_m: Standard deviation to the north, metres.
        ellipse_95_east_m: Semi-axis of the 95 % ellipse to the east, metres.
        ellipse_95_north_m: Semi-axis of the 95 % ellipse to the north, metres.
        latency_ms: From samples in memory to the position, milliseconds.
    """

    file: str
    latitude_deg: float
    longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    ellipse_95_east_m: float
    ellipse_95_north_m: float
    latency_ms: float


@click.command(
    epilog="Example: heimdall predict recording.npy --model models/localizer.onnx --sample-rate-hz 192000"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.npy...")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=Path("models/localizer.onnx"),
    show_default=True,
    help="The exported model.",
)
@click.option(
    "--sample-rate-hz",
    type=click.FloatRange(min=0, min_open=True),
    default=192_000.0,
    show_default=True,
    help="Sample rate of the recordings.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def predict(files: tuple[Path, ...], model: Path, sample_rate_hz: float, as_json: bool) -> None:
    """Where the transmitter of each recording is.

    A recording is a one-dimensional complex64 or complex128 .npy file. Each is answered by itself, from
    one receiver's point of view, with its standard deviations and the semi-axes of the 95 % ellipse.
    """
    localizer = OnnxLocalizer.open(model)
    mel = mel_params(localizer.metadata, model)
    # The first answer of a session allocates; it is no recording's latency.
    localizer.estimate(np.zeros((1, 3, mel["n_mels"], mel["frames"]), np.float32), batch_size=1)
    predictions = [
        _predict_file(localizer, file, sample_rate_hz, mel)
        for file in tqdm(files, desc="predict", unit="recording", disable=None)
    ]
    if as_json:
        click.echo(
            json.dumps([asdict(prediction) for prediction in predictions], indent=2, ensure_ascii=False)
        )
        return
    click.echo(table(predictions))
    data = localizer.metadata.get("data")
    if data is not None:
        click.echo(f"The model was trained on {data} data.")


def mel_params(metadata: dict[str, Any], model: Path) -> dict[str, Any]:
    """The spectrogram parameters that an exported model was trained with.

    Args:
        metadata: Of the ONNX file.
        model: The file, for the message.

    Raises:
        HeimdallError: The file does not say.
    """
    try:
        stored = metadata["params"]["features"]
        return {name: stored[name] for name in _MEL_PARAMS}
    except (KeyError, TypeError):
        cause = "it does not say how its features are made"
        raise HeimdallError(str(model), cause, "Export it with `dvc repro export`") from None


def table(predictions: list[Prediction]) -> str:
    """Predictions as lines of text, lengths in metres."""
    width = max(len("recording"), *(len(prediction.file) for prediction in predictions))
    lines = [
        f"{'recording':<{width}}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse E x N, m':>22}  {'ms':>6}"
    ]
    for one in predictions:
        sigma = f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}"
        ellipse = f"{one.ellipse_95_east_m:.0f} x {one.ellipse_95_north_m:.0f}"
        lines.append(
            f"{one.file:<{width}}  {one.latitude_deg:>10.5f}  {one.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>22}  {one.latency_ms:>6.1f}"
        )
    return "\n".join(lines)


def _predict_file(
    localizer: OnnxLocalizer, file: Path, sample_rate_hz: float, mel: dict[str, Any]
) -> Prediction:
    """Read, check and localize one recording."""
    limit_bytes = iq.max_object_bytes(sample_rate_hz, MAX_DURATION_S)
    try:
        with file.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
        samples = iq.decode(content, sample_rate_hz, MAX_DURATION_S)
    except OSError as error:
        raise HeimdallError(str(file), f"it cannot be read ({error.strerror})", "Name a .npy file") from None
    except iq.BadRecording as error:
        remedy = "Give a complex64 or complex128 .npy file and its --sample-rate-hz"
        raise HeimdallError(str(file), error.detail, remedy) from None
    started_s = time.perf_counter()
    try:
        features = iq_to_mel_spectrogram(samples, sample_rate_hz, **mel)  # (3, n_mels, frames)
    except HeimdallError as error:
        remedy = "Give a recording as long and of the rate that the model was trained on"
        raise HeimdallError(str(file), error.cause, remedy) from None
    estimate = localizer.estimate(features[np.newaxis], batch_size=1)
    latency_ms = (time.perf_counter() - started_s) * 1000
    radius = math.sqrt(chi_square_2(0.95))
    sigma_east_m, sigma_north_m = float(estimate.sigma_east_m[0]), float(estimate.sigma_north_m[0])
    return Prediction(
        file=str(file),
        latitude_deg=float(estimate.latitude_deg[0]),
        longitude_deg=float(estimate.longitude_deg[0]),
        sigma_east_m=sigma_east_m,
        sigma_north_m=sigma_north_m,
        ellipse_95_east_m=sigma_east_m * radius,
        ellipse_95_north_m=sigma_north_m * radius,
        latency_ms=latency_ms,
    )
