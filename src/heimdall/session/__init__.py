"""The sessions in the data, for a person: a list of them, one of them, its picture, its recordings as files.

`session_text` is what is printed of them. Imports `position` and what it imports, `recordings` and `core`.
"""

__all__ = ["catalogue", "detail", "files", "identifiers", "picture", "session_text", "start_times"]
