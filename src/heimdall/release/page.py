"""The page of a release, README.md beside its files: the model card, and a section on the release.

The card is models/README.md, which the stage export writes (`pipeline/export/card`).
"""

from __future__ import annotations

from pathlib import Path

from heimdall.release.attestation import ARTIFACT
from heimdall.release.registry import CONFIG_FILE, METRICS_FILE, MODEL_FILE, RELEASE_FILE
from heimdall.reproduce.paths import MODEL


def write(card: bytes, version: str, commit: str) -> bytes:
    """The page.

    Args:
        card: The model card of the commit, UTF-8.
        version: As in vX.Y.Z.
        commit: Full hash.
    """
    return card + _section(version, commit).encode()


def _section(version: str, commit: str) -> str:
    """What a release adds to the card."""
    return f"""
## Release

{ARTIFACT} {version}, commit `{commit}`. `{MODEL_FILE}` is `{Path(MODEL).name}` of this card;
every output of the commit comes with `git checkout {version}` and `dvc pull`. `{CONFIG_FILE}` has
the parameters, `{METRICS_FILE}` every figure, `{RELEASE_FILE}` the hashes and what was
checked.
"""
