"""An exported ONNX file: what it was made of, and its answers, on one thread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError, unreadable
from heimdall.metrics.metrics import Estimates
from heimdall.network.tokens import Tokens, collate

Kind = Literal["single", "fusion"]
Arrays = dict[str, npt.NDArray[Any]]

RECORDING_INPUT = "features"
# In the order of `FusionNet.forward`; all but the last four have an axis of receivers.
SESSION_INPUTS = (
    "mask",
    "delay_s",
    "information_s2",
    "timing_sigma_s",
    "receiver_m",
    "physical",
    "shape",
    "centre_m",
    "prior_m2",
    "log_power",
    "start_m",
)
TILE_INPUTS = ("centre_m", "prior_m2", "log_power", "start_m")
_PROVIDERS = ["CPUExecutionProvider"]


class OnnxLocalizer:
    """A localizer in ONNX Runtime on one CPU thread.

    Args:
        content: The bytes of the ONNX file.
        subject: What to call it in messages, such as its path.
        portable: Give the same bits on every x86-64 CPU with AVX2, at a third of the speed. Otherwise ONNX
            Runtime packs the channels of convolutions into blocks as wide as the CPU's vectors (NCHWc: 16
            with AVX-512, else 8), and their sums end in other last bits.

    Attributes:
        metadata: What the file says of its making: `data_fingerprint`, `params`, `modules` and so on.
        kind: "single" answers each recording by itself, "fusion" all receivers of a session together.

    Raises:
        HeimdallError: The bytes are no ONNX file of this pipeline.
    """

    def __init__(self, content: bytes, subject: str, *, portable: bool = False) -> None:
        options = ort.SessionOptions()
        if portable:  # the level above this one chooses the layout
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        # One thread: a sum that is split by threads depends on their number, and ONNX Runtime's threads
        # and torch's fight for the same cores in one process.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only: warnings are about the optimiser's choices
        try:
            self._session = ort.InferenceSession(content, options, providers=_PROVIDERS)
            stored = self._session.get_modelmeta().custom_metadata_map
            self.metadata: dict[str, Any] = {key: json.loads(value) for key, value in stored.items()}
        except Exception as error:  # ONNX Runtime's own exceptions share no other base class
            cause = " ".join(str(error).split())[:200]
            raise HeimdallError(subject, f"no ONNX localizer ({cause})", remedies.MODEL) from None
        taken = tuple(item.name for item in self._session.get_inputs())
        kinds: dict[tuple[str, ...], Kind] = {(RECORDING_INPUT,): "single", SESSION_INPUTS: "fusion"}
        if taken not in kinds:
            cause = f"no ONNX localizer (it takes {', '.join(taken)[:100]})"
            raise HeimdallError(subject, cause, remedies.MODEL)
        self.kind: Kind = kinds[taken]

    @classmethod
    def open(cls, path: Path) -> OnnxLocalizer:
        """Load a file.

        Raises:
            HeimdallError: The file is missing or no localizer.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error, f"{remedies.BRING}; or name another file") from None
        return cls(content, str(path))

    def answer(self, batches: Iterable[Arrays]) -> Arrays:
        """Everything the file says, one batch after the other.

        Args:
            batches: Inputs by name, at least one batch.

        Returns:
            Outputs by name, the batches joined. `positions` (n, 2) float64, degrees, and `uncertainties`
            (n, 2) float32, metres east and north; of "fusion" also `covariance` (n, 2, 2), m^2,
            `localizable` (n,), probability of lying within 1 km, and of all K Gaussians `weights` (n, K),
            `means_deg` (n, K, 2) and `covariances` (n, K, 2, 2), all float64.
        """
        names = [item.name for item in self._session.get_outputs()]
        return joined(dict(zip(names, self._session.run(names, batch), strict=True)) for batch in batches)

    def estimate(self, features: npt.NDArray[np.float32], batch_size: int) -> Estimates:
        """Positions of recordings, each by itself; of a file of the kind "single".

        Args:
            features: Log-mel in dB, not normalised, shape (n, 3, n_mels, frames), n > 0.
            batch_size: Recordings at a time. Dynamic int8 scales its activations by the whole batch, so
                its answers depend on it; those of float32 do not, up to rounding.

        Returns:
            n estimates, sigmas in metres.
        """
        starts = range(0, len(features), batch_size)
        found = self.answer({RECORDING_INPUT: features[start : start + batch_size]} for start in starts)
        return Estimates(
            *found["positions"].astype(np.float64).T, *found["uncertainties"].astype(np.float64).T
        )


def session_inputs(sessions: Sequence[Tokens], spare: int = 0) -> Arrays:
    """One batch for a file of the kind "fusion".

    Args:
        sessions: B sessions.
        spare: Rows beyond those of the session with the most receivers; what they hold is masked out.

    Returns:
        `SESSION_INPUTS` by name.
    """
    batch = collate(sessions, max(len(item.delay_s) for item in sessions) + spare)
    return {name: batch[name].numpy() for name in SESSION_INPUTS}


def joined(batches: Iterable[Mapping[str, npt.NDArray[Any]]]) -> Arrays:
    """Arrays of several batches, by name, along their first axis."""
    found = list(batches)
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
