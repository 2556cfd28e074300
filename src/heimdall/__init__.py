"""Heimdall: from IQ recordings of a WebSDR network to a versioned transmitter localizer.

The public API is what `__all__` names; each name is imported from its room when it is first asked for, so
that `import heimdall` waits for no library. What a stage needs it imports from the rooms themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heimdall.api.settings import Settings
    from heimdall.api.training_pipeline import TrainingPipeline
    from heimdall.core.errors import HeimdallError
    from heimdall.geometry.geo import LocalFrame
    from heimdall.localize.locating import locate
    from heimdall.network.dataset import HeimdallDataset
    from heimdall.network.localization_net import LocalizationNet
    from heimdall.network.loss import GaussianNLLLoss
    from heimdall.pipeline.train.lightning_module import LocalizationLightningModule
    from heimdall.session.catalogue import sessions
    from heimdall.session.detail import read_session
    from heimdall.session.located import locate_session
    from heimdall.session.picture import draw_session
    from heimdall.signal.features import augment_features, compute_mfcc, normalize_features
    from heimdall.signal.log_mel import iq_to_mel_spectrogram, recording_features
    from heimdall.track.tracker import MLflowTracker

# Former scripts import these modules from here; their homes are the rooms.
_MODULES = {"endpoints": "api.endpoints", "iq": "recordings.iq"}
_ROOMS = {
    "GaussianNLLLoss": "network.loss",
    "HeimdallDataset": "network.dataset",
    "HeimdallError": "core.errors",
    "LocalFrame": "geometry.geo",
    "LocalizationLightningModule": "pipeline.train.lightning_module",
    "LocalizationNet": "network.localization_net",
    "MLflowTracker": "track.tracker",
    "Settings": "api.settings",
    "TrainingPipeline": "api.training_pipeline",
    "augment_features": "signal.features",
    "compute_mfcc": "signal.features",
    "draw_session": "session.picture",
    "iq_to_mel_spectrogram": "signal.log_mel",
    "locate": "localize.locating",
    "locate_session": "session.located",
    "normalize_features": "signal.features",
    "read_session": "session.detail",
    "recording_features": "signal.log_mel",
    "sessions": "session.catalogue",
}
__all__ = [
    "GaussianNLLLoss",
    "HeimdallDataset",
    "HeimdallError",
    "LocalFrame",
    "LocalizationLightningModule",
    "LocalizationNet",
    "MLflowTracker",
    "Settings",
    "TrainingPipeline",
    "augment_features",
    "compute_mfcc",
    "draw_session",
    "iq_to_mel_spectrogram",
    "locate",
    "locate_session",
    "normalize_features",
    "read_session",
    "recording_features",
    "sessions",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """A name of the public API, from its room."""
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public API."""
    return __all__
