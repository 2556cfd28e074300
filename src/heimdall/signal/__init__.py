"""From a session's recordings to its features: the log-mel spectrogram, detection gate, correlations.

`features` has MFCC, normalisation and augmentation. Imports `core`.
"""

__all__ = [
    "coherence",
    "correlation",
    "detection",
    "extraction",
    "features",
    "log_mel",
    "noise",
    "sessions",
    "transforms",
]
