"""The parameters of params.yaml: typed, in range, no unknown key; read once and passed on.

Defaults stand in params.yaml alone. `1e-05`, which YAML reads as a string, is a number here.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from heimdall.core import remedies, strict_yaml
from heimdall.core.determinism import PARAMS_FILE
from heimdall.core.errors import HeimdallError

# The specification says gpu, PyTorch cuda; both are one accelerator, and one training.
Accelerator = Annotated[
    Literal["cpu", "gpu", "cuda", "auto"], AfterValidator(lambda name: "cuda" if name == "gpu" else name)
]
Backbone = Literal["atto", "femto", "pico", "nano", "tiny", "small", "medium", "base", "large"]
_STRICT = ConfigDict(extra="forbid")
_ALSO_CALLED = {"learning_rate": "lr"}  # as the options of stages/train.py have it
FIRST_OTHER_WORLD = 1000  # seeds of worlds from here on are for pretraining alone
LAST_OTHER_WORLD = (
    20_000_000  # a hundred times the seed, in int32, numbers the receivers of a world elsewhere
)


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not true or false")
    return value


_NUMBER = BeforeValidator(_no_truth_value)  # to Python true is 1
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _NUMBER]
Fraction = Annotated[float, Field(gt=0, lt=1), _NUMBER]
Share = Annotated[float, Field(ge=0, lt=1), _NUMBER]
Probability = Annotated[float, Field(ge=0, le=1), _NUMBER]
_LARGEST = 2**31 - 1  # of what is counted: a computer counts no further in every library
Count = Annotated[int, Field(ge=1, le=_LARGEST), _NUMBER]
Number = Annotated[int, Field(ge=0, le=_LARGEST), _NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), _NUMBER]


@dataclass(frozen=True, config=_STRICT)
class SnapshotParams:
    """What the snapshot holds."""

    as_of: AwareDatetime
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]  # a file of sql/
    max_quarantined_fraction: Share
    shard_sessions: Count
    max_duration_s: Positive
    download_threads: Count


@dataclass(frozen=True, config=_STRICT)
class FeatureParams:
    """Log-mel of each recording, correlation of each pair of receivers."""

    n_mels: Count
    n_fft: Count
    hop_length: Count
    f_min: NotNegative
    f_max: Positive | None
    frames: Count
    correlation_band_hz: Positive
    correlation_rate_hz: Positive
    correlation_max_lag_s: Positive
    n_mfcc: Count | None = None  # by default, because records of models made before it was there lack it

    @model_validator(mode="after")
    def _ordered(self) -> FeatureParams:
        if self.n_mfcc is not None and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not exceed n_mels ({self.n_mels})")
        if self.f_max is not None and self.f_max <= self.f_min:
            raise ValueError(f"f_max ({self.f_max}) must be above f_min ({self.f_min})")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length ({self.hop_length}) must not exceed n_fft ({self.n_fft})")
        return self

    def record(self) -> dict[str, Any]:
        """What files say of the features: without n_mfcc where it is null, as before there was one."""
        values = asdict(self)
        if self.n_mfcc is None:
            del values["n_mfcc"]
        return values


@dataclass(frozen=True, config=_STRICT)
class CalibrationParams:
    """What is known of single receivers, by names such as websdr_5; `heimdall receivers` measures it."""

    delay_ns: dict[
        Annotated[str, Field(pattern=r"^websdr_(0|[1-9]\d*)$")],
        Annotated[int, Field(ge=-(10**9), le=10**9), _NUMBER],
    ]

    def start_gps_ns(self, websdr_id: int, stamped_ns: int) -> int:
        """When a recording of a receiver began, by its own stamp of that."""
        return stamped_ns - self.delay_ns.get(f"websdr_{websdr_id}", 0)


UNCALIBRATED = CalibrationParams({})


@dataclass(frozen=True, config=_STRICT)
class SplitParams:
    """Which sessions are held out."""

    by: Literal["transmitter", "session"]
    test_fraction: Fraction
    seed: Seed


Multipath = Literal[
    "none", "light", "strong", "rma", "uma", "cost207", "cost207_ra", "cost207_tu", "cost207_bu", "cost207_ht"
]


@dataclass(frozen=True, config=_STRICT)
class PretrainParams:
    """The simulated sessions of other worlds, and the training on them that fusion starts from."""

    sessions: Count
    sessions_per_world: Annotated[Count, Field(ge=2)]
    multipath: Annotated[list[Multipath], Field(min_length=1)]
    faulty_share: Probability
    elsewhere_share: Share
    seed: Seed
    validation_split: Fraction
    epochs: Count
    lr: Positive
    batch_size: Count
    weight_decay: NotNegative
    dropout_rate: Share
    warmup_epochs: Number
    early_stop_patience: Count

    @model_validator(mode="after")
    def _other_worlds(self) -> PretrainParams:
        if self.seed < FIRST_OTHER_WORLD:
            raise ValueError(
                f"seed must be at least {FIRST_OTHER_WORLD}: the worlds of smaller seeds are those of demos, "
                "tests and benchmarks, whose transmitters and scatterers no model may have seen"
            )
        if self.seed + self.sessions // self.sessions_per_world > LAST_OTHER_WORLD:
            raise ValueError(
                f"seed ({self.seed}) must be smaller: the last world's must not exceed {LAST_OTHER_WORLD}"
            )
        if self.sessions < 2 * self.sessions_per_world:
            raise ValueError(
                f"sessions ({self.sessions}) must be at least twice sessions_per_world "
                f"({self.sessions_per_world}): one world validates what the others train"
            )
        return self


@dataclass(frozen=True, config=_STRICT)
class ModelParams:
    """The network."""

    name: Literal["single", "fusion"]
    from_simulated: bool
    pretrained: bool
    freeze_backbone: bool
    uncertainty_min_m: Positive
    uncertainty_max_m: Positive

    @model_validator(mode="after")
    def _ordered(self) -> ModelParams:
        if self.uncertainty_max_m <= self.uncertainty_min_m:
            raise ValueError("uncertainty_max_m must be above uncertainty_min_m")
        return self


@dataclass(frozen=True, config=_STRICT)
class AugmentParams:
    """How each epoch varies the recordings that train, see `heimdall.augment_features`."""

    dropout_rate: Share
    shift_max: Number
    scale_min: Positive
    scale_max: Positive
    level_max_db: NotNegative

    @model_validator(mode="after")
    def _ordered(self) -> AugmentParams:
        if self.scale_max < self.scale_min:
            raise ValueError("scale_max must not be below scale_min")
        return self


@dataclass(frozen=True, config=_STRICT)
class EvaluateParams:
    """How the figures of merit are made."""

    bootstrap_resamples: Count
    seed: Seed


@dataclass(frozen=True, config=_STRICT)
class ExportParams:
    """The ONNX files and the gate before them."""

    opset: Annotated[int, Field(ge=17, le=23)]
    parity_tolerance_m: Positive
    parity_tolerance_sigma: Positive
    parity_min_share: Fraction


@dataclass(frozen=True, config=_STRICT)
class VerifyParams:
    """How far a rebuilt array may be from the recorded one where the bits are not promised."""

    tolerance: Fraction


@dataclass(frozen=True, config=_STRICT)
class Params:
    """All of params.yaml. The training parameters stand at top level, under the specification's names."""

    seed: Seed
    lr: Positive
    batch_size: Count
    epochs: Count
    weight_decay: NotNegative
    dropout_rate: Share
    early_stop_patience: Count
    lr_scheduler: Literal["cosine", "constant"]
    warmup_epochs: Number
    num_workers: Number
    validation_split: Fraction
    backbone: Backbone
    accelerator: Accelerator
    devices: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    threads: Annotated[int, Field(ge=1, le=64)]
    virtual_shards: Annotated[int, Field(ge=1, le=1024)]
    snapshot: SnapshotParams
    features: FeatureParams
    calibration: CalibrationParams
    split: SplitParams
    pretrain: PretrainParams
    augment: AugmentParams
    model: ModelParams
    evaluate: EvaluateParams
    export: ExportParams
    verify: VerifyParams

    @model_validator(mode="after")
    def _no_empty_shards(self) -> Params:
        for name, size in (
            ("batch_size", self.batch_size),
            ("pretrain.batch_size", self.pretrain.batch_size),
        ):
            if size < self.virtual_shards:
                raise ValueError(f"virtual_shards ({self.virtual_shards}) must not exceed {name} ({size})")
        return self


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check every parameter, before any work.

    Args:
        path: The parameters file.

    Returns:
        The parameters.

    Raises:
        HeimdallError: The file is missing or no YAML, a key is unknown or missing, or a value is of the
            wrong type or out of range. The message names each of them.
    """
    restore = f"restore the file with `git checkout {path}`"
    try:
        text = path.read_text(encoding="utf-8")
        remedies.refuse_conflict(text, str(path))
        loaded = strict_yaml.parse(text)
    except FileNotFoundError:
        remedy = f"Run from the repository's root, or {restore}"
        raise HeimdallError(str(path), "the file is missing", remedy) from None
    except ValueError as error:  # of bytes that are no UTF-8, too
        raise HeimdallError(str(path), f"not YAML ({error})", f"Correct it there, or {restore}") from None
    return check(loaded, str(path))


def check(values: object, subject: str) -> Params:
    """Validate parameters that were read or overridden.

    Args:
        values: Nested mapping as in params.yaml.
        subject: Where they come from, for the message.

    Returns:
        The parameters.

    Raises:
        HeimdallError: As for `load`.
    """
    try:
        return TypeAdapter(Params).validate_python(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'file'}: {_told(item)}{_meant(item)}"
            for item in error.errors()
        ]
        raise HeimdallError(subject, "; ".join(problems), "Correct the named parameters") from None


def _told(problem: ErrorDetails) -> str:
    """What is wrong with a parameter, and the form that it has."""
    if problem["type"].startswith(("timezone_", "datetime_")):
        return 'give a moment with its zone, such as "2026-03-01T00:00:00Z"'
    return problem["msg"]


def _meant(problem: ErrorDetails) -> str:
    """The known parameter that an unknown one is most like, in brackets; "" where none is like it."""
    if problem["type"] != "unexpected_keyword_argument":
        return ""
    names = {name: name for name in _names(Params)} | _ALSO_CALLED
    near = difflib.get_close_matches(".".join(map(str, problem["loc"])), names, n=1)
    return f" (did you mean {names[near[0]]}?)" if near else ""


def _names(section: type, prefix: str = "") -> list[str]:
    """The dotted names of all parameters of a section."""
    found = []
    for name, kind in get_type_hints(section).items():
        found.append(prefix + name)
        if isinstance(kind, type) and is_dataclass(kind):
            found += _names(kind, f"{prefix}{name}.")
    return found
