"""The model card: what a network is for, what goes in and out, and how well it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heimdall.network.model_file import PRETRAINED_HASH
from heimdall.network.tokens import PHYSICAL, SHAPE
from heimdall.pipeline.export.onnx_file import FLOAT32_FILE, INT8_FILE

CARD_FILE = "README.md"
COLUMNS = {
    "localizer": "this model",
    "mean_position": "mean position",
    "received_power": "received power",
    "time_of_arrival": "time of arrival",
    "direct_position": "direct position",
    "combined": "combined",
}
ROWS = (
    ("mean error, m", "mae_m", 1, 0),
    ("median error, m", "median_m", 1, 0),
    ("90th percentile, m", "p90_m", 1, 0),
    ("within 30 m, %", "accuracy_30m", 100, 1),
    ("within 100 m, %", "accuracy_100m", 100, 1),
    ("calibration error, m", "calibration_error_m", 1, 0),
    ("NLL, nats per m^2", "nll_nats", 1, 2),
    ("within the 68 % region, %", "coverage_68", 100, 0),
    ("within the 95 % region, %", "coverage_95", 100, 0),
)


@dataclass(frozen=True)
class _Text:
    """What is said of one kind of network; `interface` and `limits` are formats."""

    purpose: str
    cases: str
    interface: str
    limits: str


def card(record: Mapping[str, Any], evaluation: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The model card, in Markdown. Version and revision are added by a release, not here.

    Args:
        record: What the model was made of.
        evaluation: The content of metrics/eval_full.json.
        figures: The content of metrics/export.json.
    """
    data, test = evaluation["data"], evaluation["test"]
    int8, float32, parity = figures["int8"], figures["float32"], figures["parity"]
    text = _TEXTS[figures["model"]]
    oversize = "" if float32["below_100_mb"] else " (above the specification's 100 MB: the backbone's size)"
    features = record["params"]["features"]
    start = " It started from weights of **simulated** sessions." if PRETRAINED_HASH in record else ""
    parameters = json.dumps(record["params"], sort_keys=True, indent=2, ensure_ascii=False)
    return f"""# Heimdall localizer

{text.purpose}
Trained on **{record["data"]}** data.{start} All figures below are from **{data}** data.

| file | size |
|---|---|
| `{FLOAT32_FILE}` | {float32["size_mb"]} MB{oversize} |
| `{INT8_FILE}` | {int8["size_mb"]} MB; positions move by {int8["median_shift_m"]:.2g} m in the median, \
the mean error changes by {int8["mae_change_m"]:+.2g} m |

{
        text.interface.format(
            n_mels=features["n_mels"], frames=features["frames"], physical=len(PHYSICAL), shape=SHAPE
        )
    }

ONNX Runtime and PyTorch agree within {parity["tolerance_m"]:g} m and {parity["tolerance_sigma"]:.0%} of \
sigma on {round(parity["share"] * parity["n"])} of the {parity["n"]} test {text.cases}s.

## Test figures ({data})

{test["localizer"]["n"]} sessions of {test["localizer"]["clusters"]} transmitters, held out by \
{evaluation["split_by"]}. In brackets: 95 % bootstrap interval over whole
transmitters; what stands within 100 m of each other is one.

{_table(test)}

## Limits

{text.limits.format(target_m=evaluation["targets"]["mae_m"])}
- It is valid for the receivers, bands and region it was trained on; it does not know when it is outside them.
- int8 scales its activations by the whole batch: ask it one {text.cases} at a time.

## Made of

Data fingerprint: `{record["data_fingerprint"]}`

```json
{parameters}
```
"""


def _table(test: Mapping[str, Any]) -> str:
    """The test figures of this model and of every baseline, in Markdown."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    for label, key, scale, digits in ROWS:
        cells = [_cell(test[column], key, scale, digits) for column in COLUMNS]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any], key: str, scale: float, digits: int) -> str:
    """One figure with its interval, where it has one."""
    text = f"{figures[key] * scale:.{digits}f}"
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    if low is None or high is None:
        return text
    return f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


_TEXTS = {
    "single": _Text(
        purpose="""Estimates where a transmitter is from **one** receiver's recording: log-mel spectrogram in,
latitude, longitude and standard deviations to the east and north out.""",
        cases="recording",
        interface="""Input `features` (batch, 3, {n_mels}, {frames}) float32, log-mel of I, Q and magnitude in
dB, not normalised. Outputs `positions` (batch, 2) float64, latitude and longitude in degrees; `uncertainties`
(batch, 2) float32, standard deviation to the east and to the north in metres.""",
        limits="""- One receiver's spectrogram holds level and fading, not arrival times: it cannot reach the
  specification's {target_m:g} m. Compare with the mean position, which listens to nothing.
- The figures multiply the Gaussians of a session's receivers as if their errors were independent. They are
  not: read the coverage before the sigma.""",
    ),
    "fusion": _Text(
        purpose="""Estimates where a transmitter is from the recordings of **all receivers** of a session:
arrival times and levels in, a mixture of Gaussians over the position out.""",
        cases="session",
        interface="""Any batch, any number and order of receivers. Where `mask` is false, anything finite.

| input | type | |
|---|---|---|
| `mask` (batch, receivers) | bool | whether the row is a recording; at least one is |
| `delay_s`, `information_s2` (batch, receivers) | float64 | arrival time, its inverse variance; or 0 |
| `timing_sigma_s` (batch, receivers) | float64 | standard deviation of the receiver's clock |
| `receiver_m` (batch, receivers, 3) | float64 | east, north and up of the receiver, m |
| `physical`, `shape` (batch, receivers, {physical} or {shape}) | float32 | as in `heimdall.network.tokens` |
| `centre_m`, `prior_m2`, `log_power`, `start_m` (batch, 15, ...) | float64 | tiles, as in the same |

| output | type | |
|---|---|---|
| `positions` (batch, 2) | float64 | latitude and longitude of the dominant Gaussian, degrees |
| `uncertainties` (batch, 2) | float32 | its standard deviations to the east and north, m |
| `covariance` (batch, 2, 2) | float64 | its covariance, m^2 |
| `localizable` (batch) | float64 | probability that the truth is within 1 km of the position |
| `weights`, `means_deg`, `covariances` (batch, K, ...) | float64 | all K Gaussians |

`heimdall.inference.preprocessing` makes the inputs from recordings, by the file's metadata (receivers, models
of levels, area, parameters of the features); `heimdall predict` is that on the command line.""",
        limits="""- The specification's {target_m:g} m need many receivers that know GPS time and hear
  well. With fewer than three the answer rests on levels and is kilometres wide; with three, two places may
  fit. Read `localizable` and the other Gaussians.
- A receiver of the network without a recording counts as one that heard nothing.
- Transmitters are assumed at one altitude.
- Most of the file is a solver in float64, which int8 leaves as it is: that file is little smaller.""",
    ),
}
