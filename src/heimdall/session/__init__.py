"""The sessions in the data, for a person: a list of them, one of them, its page and picture, its recordings.

`detail` reads a session, `located` locates it, and `session_page`, `picture` and `session_text` show both.
Imports `localize`, `maps`, `pages`, what they import, and `recordings`.
"""

__all__ = [
    "account",
    "catalogue",
    "charts",
    "correlations",
    "credible",
    "detail",
    "figures",
    "files",
    "identifiers",
    "lateness",
    "located",
    "picture",
    "residuals",
    "session_map",
    "session_page",
    "session_text",
    "spectra",
    "start_times",
]
