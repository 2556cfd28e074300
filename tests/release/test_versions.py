"""What is a version."""

from __future__ import annotations

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import versions


@pytest.mark.parametrize("version", ["1.2.3", "v1.2", "v01.2.3", "v1.2.3-rc1", "v1.2.3\n", "../v1.2.3", ""])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(HeimdallError, match="no semantic version"):
        versions.check(version)
