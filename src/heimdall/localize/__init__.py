"""Where a transmitter is, for who asks: recordings answered by the exported model, sessions by every method.

`*_text` are the answers as lines of text. Imports `inference`, `baselines`, `metrics`, and what they import.
"""

__all__ = [
    "answer",
    "error_ellipse",
    "fix_csv",
    "fix_geojson",
    "fix_json",
    "fix_kml",
    "fix_page",
    "fix_text",
    "location",
    "location_text",
    "prediction",
    "prediction_text",
    "session_files",
]
