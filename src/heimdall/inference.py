"""An exported ONNX file: what it was made of, and its answers, on one thread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from heimdall.errors import HeimdallError
from heimdall.metrics import Estimates

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
            raise HeimdallError(
                subject, f"no ONNX localizer ({cause})", "Export it with `dvc repro`"
            ) from None

    @classmethod
    def open(cls, path: Path) -> OnnxLocalizer:
        """Load a file.

        Raises:
            HeimdallError: The file is missing or no localizer.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            cause = f"it cannot be read ({error.strerror})"
            raise HeimdallError(
                str(path), cause, "Run `dvc repro` or `dvc pull`, or name another file"
            ) from None
        return cls(content, str(path))

    def estimate(self, features: npt.NDArray[np.float32], batch_size: int) -> Estimates:
        """Positions of recordings.

        Args:
            features: Log-mel in dB, not normalised, shape (n, 3, n_mels, frames), n > 0.
            batch_size: Recordings at a time. Dynamic int8 scales its activations by the whole batch, so
                its answers depend on it; those of float32 do not, up to rounding.

        Returns:
            n estimates, sigmas in metres.
        """
        positions, sigmas_m = [], []
        for start in range(0, len(features), batch_size):
            position, sigma_m = self._session.run(
                ["positions", "uncertainties"], {"features": features[start : start + batch_size]}
            )
            positions.append(position)
            sigmas_m.append(sigma_m)
        latitude, longitude = np.concatenate(positions).astype(np.float64).T  # (n,) each
        sigma_east, sigma_north = np.concatenate(sigmas_m).astype(np.float64).T  # (n,) each
        return Estimates(latitude, longitude, sigma_east, sigma_north)
