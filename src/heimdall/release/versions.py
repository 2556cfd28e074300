"""A version's name, vX.Y.Z, as Semantic Versioning (https://semver.org) orders it."""

from __future__ import annotations

import semver

from heimdall.core.errors import HeimdallError

_MAX_DIGITS = 6  # of each number: versions become keys and tags


def is_version(text: str) -> bool:
    """Whether it is vX.Y.Z: a semantic version without a pre-release and a build."""
    if not text.startswith("v") or not semver.Version.is_valid(text[1:]):
        return False
    numbers = semver.Version.parse(text[1:])
    return text == f"v{numbers.finalize_version()}" and max(map(len, text[1:].split("."))) <= _MAX_DIGITS


def check(version: str) -> str:
    """The version, if it is one.

    Raises:
        HeimdallError: It is not vX.Y.Z. Versions become keys and tags.
    """
    if not is_version(version):
        raise HeimdallError(repr(version), "no semantic version", "Write it as v1.2.3")
    return version


def order(version: str) -> semver.Version:
    """What versions are sorted by."""
    return semver.Version.parse(version[1:])
