"""The one exception that a user sees: what, why, and what to do, in one line."""

from __future__ import annotations


class HeimdallError(Exception):
    """A failure that the user can mend.

    Args:
        subject: The file, endpoint, parameter or stage that failed.
        cause: What is wrong with it, without secrets.
        remedy: What to type or change.
    """

    def __init__(self, subject: str, cause: str, remedy: str) -> None:
        super().__init__(f"{subject}: {cause}. {remedy}")
        self.subject = subject
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[HeimdallError], tuple[str, str, str]]:
        """Cross the border between processes whole: an exception's own pickling knows the message alone."""
        return type(self), (self.subject, self.cause, self.remedy)
