"""Files of other programs (KiwiSDR, WAV, SigMF, raw) as recordings, and of receivers' places.

`reader.read` recognises any format; a new one is a module here, and a line there. Imports `core`, `geometry`
and `recordings`.
"""

__all__ = [
    "file_names",
    "gps_time",
    "kiwi",
    "misplaced",
    "plain",
    "reader",
    "receivers_file",
    "recording",
    "riff",
    "sample_types",
    "seconds",
    "sidecar",
    "sigmf_files",
    "stamps",
    "stations",
    "text_file",
    "tuning",
    "wav",
]
