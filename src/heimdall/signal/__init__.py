"""From a session's recordings to its features: the log-mel spectrogram, detection gate, correlations.

`log_mel` has the mel filter bank, MFCC, normalisation and augmentation. Imports `core`.
"""

__all__ = ["correlation", "detection", "extraction", "log_mel", "noise", "sessions", "transforms"]
