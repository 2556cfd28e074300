"""Where a transmitter is, for who asks: files of anybody, and sessions by every method.

`*_text` and `fix_*` are the answers as they are shown. Imports `formats`, `multilateration`, `inference`,
`baselines`, `metrics`, and what they import.
"""

__all__ = [
    "answer",
    "arrival_table",
    "beside",
    "error_ellipse",
    "events",
    "fix_csv",
    "fix_geojson",
    "fix_json",
    "fix_kml",
    "fix_map",
    "fix_page",
    "fix_shapes",
    "fix_text",
    "fix_words",
    "locating",
    "location",
    "location_page",
    "location_text",
    "network_map",
    "prediction",
    "prediction_page",
    "prediction_text",
    "receiver_errors_file",
    "receiver_errors_text",
    "session_files",
    "together",
]
