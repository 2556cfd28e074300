"""Somebody who reads the registry all the time, while releases are made and killed."""

from __future__ import annotations

import json
import threading

from heimdall.core.errors import HeimdallError
from heimdall.release import registry
from heimdall.release.bucket import ConditionalStore


class Reader(threading.Thread):
    """Reads `latest` and what it points to, and every version that is released, all the time."""

    def __init__(self, store: ConditionalStore) -> None:
        super().__init__()
        self.store, self.ended = store, threading.Event()
        self.seen: list[str] = []
        self.checked: set[str] = set()
        self.reads = 0
        self.problems: list[str] = []

    def check(self, version: str, release_sha256: str | None = None) -> None:
        found = registry.read_release(self.store, version)
        if found is None or release_sha256 not in (None, found[1]):
            self.problems.append(f"latest names {version}, which is not there as it says")
        elif version not in self.checked:
            registry.require_whole(self.store, found[0])
            self.checked.add(version)

    def run(self) -> None:
        while not self.ended.wait(0.02):
            try:
                content = self.store.read("latest")
                if content is not None:
                    pointer = json.loads(content)
                    self.check(pointer["version"], pointer["release_sha256"])
                    self.seen += [pointer["version"]] if self.seen[-1:] != [pointer["version"]] else []
                for key in self.store.head_all("v"):
                    if key.endswith("/release.json"):
                        self.check(key.split("/")[0])
            except (HeimdallError, ValueError, KeyError) as error:
                self.problems.append(str(error))
            self.reads += 1
