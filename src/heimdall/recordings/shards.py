"""Files named by their content, reused while their inputs are unchanged, and committed all at once.

A stage builds its shards into a work folder, which may vanish at any time, and touches its output last:

    names = build(tasks, make, store, title)   # on all cores
    store.commit(names)            # adds files to the output; none is ever written in place
    artifacts.write_...(index)     # the commit point: the index names its shards
    store.prune(names)             # removes what the index does not name, and empties the work folder

Killed anywhere, the output holds what the old or the new index names, plus strays that the next run removes.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from heimdall.core import artifacts, determinism, rooms, workers
from heimdall.core.errors import HeimdallError

Task = TypeVar("Task")

NAME_DIGITS = 16  # 64 bits of SHA-256
_KEY = re.compile(r"[0-9a-f]{8,64}")


class ShardStore:
    """The shards of one stage. Each one is hashed once, when it is written or first looked for.

    Args:
        final: The output's folder of shards; nothing else may lie in it.
        suffix: Of the shards' names, such as ".parquet".
        work: Scratch folder of this stage.
        former: Names of shards in `final` by the key of their inputs, where the caller knows them from the
            former index. What `work` remembers needs no mention here.
    """

    def __init__(self, final: Path, suffix: str, work: Path, former: Mapping[str, str] | None = None) -> None:
        self._final = final
        self._suffix = suffix
        self._shards = work / "shards"
        self._keys = work / "keys"
        self._former = dict(former or {})
        self._intact: set[Path] = set()
        self._name = re.compile(rf"[0-9a-f]{{{NAME_DIGITS}}}{re.escape(suffix)}")

    def find(self, key: str) -> str | None:
        """Name of the finished and undamaged shard whose inputs have this key, or None.

        Args:
            key: Hexadecimal hash of everything that determines the shard's bytes.
        """
        remembered = self._keys / _checked_key(key)
        names = [remembered.read_text(encoding="ascii", errors="replace")] if remembered.is_file() else []
        names += [self._former[key]] if key in self._former else []
        return next((name for name in names if self._locate(name) is not None), None)

    def add(self, key: str, content: bytes) -> str:
        """Write a new shard to the work folder and remember its key.

        Args:
            key: As for `find`.
            content: The shard's bytes.

        Returns:
            Its name: the first 16 hexadecimal digits of its SHA-256, and the suffix.
        """
        name = artifacts.sha256_bytes(content)[:NAME_DIGITS] + self._suffix
        artifacts.write_bytes(self._shards / name, content)
        self._intact.add(self._shards / name)
        artifacts.write_bytes(self._keys / _checked_key(key), name.encode("ascii"))
        return name

    def path(self, name: str) -> Path:
        """Where the named shard lies now, in the output or still in the work folder.

        Raises:
            HeimdallError: It is in neither place, or damaged.
        """
        path = self._locate(name)
        if path is None:
            cause = f"the finished shard {name} has vanished or is damaged"
            raise HeimdallError(str(self._final), cause, "Run `dvc repro` again")
        return path

    def commit(self, names: Collection[str]) -> None:
        """Make every named shard present in the output; its other files stay.

        Raises:
            HeimdallError: A shard is in neither place, or damaged.
        """
        for name in sorted(set(names)):
            path = self.path(name)
            if path.parent != self._final:
                with artifacts.atomic(self._final / name) as partial:
                    shutil.move(path, partial)  # a rename, or a copy between file systems
                self._intact.add(self._final / name)

    def prune(self, names: Collection[str]) -> None:
        """Remove from the output what is not named here, and all of the work folder's shards.

        To be called when the new index is in place. The keys of the named shards stay remembered.
        """
        keep = set(names)
        for folder in (self._final, self._shards):
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if folder == self._shards or path.name not in keep:
                    path.unlink()
        for path in sorted(self._keys.iterdir()) if self._keys.is_dir() else []:
            if path.read_text(encoding="ascii", errors="replace") not in keep:
                path.unlink()

    def _locate(self, name: str) -> Path | None:
        """Where an undamaged shard of this name lies: the output before the work folder."""
        if not self._name.fullmatch(name):
            return None
        for path in (self._final / name, self._shards / name):
            if path.is_file() and (path in self._intact or artifacts.has_its_name(path)):
                self._intact.add(path)
                return path
        return None


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a key is a hexadecimal hash, not {key!r}")
    return key


def code(names: Sequence[str], root: Path) -> dict[str, str]:
    """What else decides a shard's bytes and belongs in its key: modules of some rooms, the locked packages.

    Args:
        names: Rooms or modules, as of `rooms.hashes`.
        root: The repository's root.
    """
    return rooms.hashes(*names) | {"runtime": artifacts.sha256_file(root / determinism.LOCK_FILE)}


def build(
    tasks: Iterable[tuple[Task, str]],
    make: Callable[[Task], bytes],
    store: ShardStore,
    title: str,
    *,
    files: Callable[[Task], Iterable[Path]] = workers.no_files,
) -> list[str]:
    """Make the shards that are not there yet, on all cores, with a progress bar; a line says how many are.

    Args:
        tasks: What each shard is made of, and the key of that. They are gone through twice and not held.
        make: A module's function from a task to the shard's bytes, which must not depend on the process.
        store: Where shards are looked for and added.
        title: Of the bar and the line.
        files: Which files `make` reads for a task.

    Returns:
        The shards' names, in the order of the tasks.

    Raises:
        HeimdallError: As `make` does; shards that were finished are kept.
    """
    found = [store.find(key) for _, key in tasks]
    missing = [key for (_, key), name in zip(tasks, found, strict=True) if name is None]
    left = (task for (task, _), name in zip(tasks, found, strict=True) if name is None)
    made: list[str] = []
    pieces = workers.mapped(make, left, files=files)
    done = len(found) - len(missing)
    if done:
        print(f"{title}: {done} of {len(found)} shards are there already", file=sys.stderr, flush=True)
    with tqdm(total=len(found), initial=done, desc=title, unit="shard", disable=None) as progress:
        for key, content in zip(missing, pieces, strict=True):
            made.append(store.add(key, content))
            progress.update()
    fresh = iter(made)
    return [next(fresh) if name is None else name for name in found]
