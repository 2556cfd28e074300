"""Mutated input for every reader of foreign data: each is accepted or refused in one line.

Each input is good input with one to three changes: bits, a part cut off or put in, two files spliced, a
number of a header, a cell or a field made extreme. It is made again from the seed, the reader and its number:

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --reader wav --only 217

The reader `rows` needs a PostgreSQL in which databases may be created, and an S3: those of `heimdall services
up`, or configured ones. It makes two databases and a bucket, heimdall-fuzz, and removes what it put there.

Columns: "accepted" is checked (finite, in the ranges of the documents, no more samples than the file holds,
equal to NumPy's own reading); "refused" is one line; "traceback" is any other exception, more than 10 s or
1 GiB; "wrong" is an accepted value that is impossible, or a refusal of several lines; "lost" is input that
the reader changed, or rows that are neither kept nor in quarantine. If one of these three is not 0, the
exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # its own reserves a GiB of addresses at once
os.environ["HEIMDALL_RAW_BUCKET"] = "heimdall-fuzz"  # not that of the recordings
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from heimdall.core.table import markdown
from tests.fuzzing import readers, rows, running
from tests.fuzzing.running import Counts, Reader

SHOWN = 20  # failures that are printed of each reader


def show(found: list[Counts]) -> None:
    """Print the table, and what must not be."""
    lines = [[one.reader, *one.by_kind.values(), f"{one.slowest_s:.2f}", one.slowest] for one in found]
    total = [sum(one.by_kind[kind] for one in found) for kind in running.COLUMNS]
    lines.append(["all", *total, f"{max(one.slowest_s for one in found):.2f}", ""])
    heading = ("reader", "inputs", *running.COLUMNS, "slowest, s", "its number")
    cells = [[str(cell) for cell in (name, sum(counts[:5]), *counts)] for name, *counts in lines]
    print("\n".join(markdown(heading, cells, "lrrrrrrrr")))
    for one in found:
        for failure in one.failures[:SHOWN]:
            print(f"\n{failure.reader} {failure.number}: {failure.kind}: {failure.text}")
        if len(one.failures) > SHOWN:
            print(f"\n{one.reader}: {len(one.failures) - SHOWN} more")


def main() -> None:
    """Run all inputs and print the counts by reader."""
    names: dict[str, Reader | None] = {one.name: one for one in readers.READERS} | {rows.NAME: None}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs of all readers together")
    parser.add_argument("--seed", type=int, default=21, help="what makes them")
    parser.add_argument("--reader", choices=names, action="append", help="this reader alone; may be repeated")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this input alone")
    arguments = parser.parse_args()
    chosen: list[str] = arguments.reader or list(names)
    each = -(-arguments.inputs // len(chosen))
    numbers = range(each) if arguments.only is None else range(arguments.only, arguments.only + 1)
    found = []
    for name in chosen:
        reader = names[name]
        with tqdm(total=len(numbers), desc=name, unit="input", disable=None) as bar:
            if reader is None:
                found.append(rows.run(arguments.seed, numbers, bar.update))
            else:
                found.append(running.run(reader, arguments.seed, numbers, bar.update))
    show(found)
    sys.exit(any(one.failures for one in found))


if __name__ == "__main__":
    main()
