"""From a session's recordings to its features and arrival times: log-mel spectrogram, gate, correlations.

`features` has MFCC, normalisation and augmentation. Imports `core`.
"""

__all__ = [
    "alignment",
    "arrival",
    "arrival_times",
    "band",
    "channels",
    "chirp",
    "coherence",
    "correlation",
    "detection",
    "extraction",
    "fading",
    "features",
    "interpolation",
    "joint_delay",
    "log_mel",
    "noise",
    "pairs",
    "passband",
    "sample_clock",
    "session_files",
    "sessions",
    "transforms",
    "witnesses",
]
