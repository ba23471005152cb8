"""The cursor: a place in the log, opaque to clients, `epoch.p.o[,p.o…]` with one pair a partition.

`o` is the last offset seen (-1: nothing yet); events follow from the next one.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from eventhub.errors import MalformedError

_SHAPE = re.compile(r"([A-Za-z0-9_-]{1,64})\.(\d{1,5}\.(?:-1|\d{1,18})(?:,\d{1,5}\.(?:-1|\d{1,18}))*)", re.ASCII)


class Cursor(NamedTuple):
    """The log's epoch, and per partition the last offset seen."""

    epoch: str
    seen: Mapping[int, int]

    def __str__(self) -> str:
        return f"{self.epoch}.{pairs(self.seen)}"


def pairs(seen: Mapping[int, int]) -> str:
    """The part of a cursor after its epoch; partitions ascend, so that equal places have equal cursors."""
    return ",".join(f"{partition}.{seen[partition]}" for partition in sorted(seen))


def parse(text: str) -> Cursor:
    """The cursor that a client handed back. Raises MalformedError with the code `bad_cursor`."""
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise bad_cursor(text, "it does not have the shape of one")
    seen: dict[int, int] = {}
    for pair in shape[2].split(","):
        partition, _, offset = pair.partition(".")
        if int(partition) in seen:
            raise bad_cursor(text, f"it names partition {int(partition)} twice")
        seen[int(partition)] = int(offset)
    return Cursor(shape[1], seen)


def bad_cursor(text: str, why: str) -> MalformedError:
    """The error for a cursor that is none: hand back one that the server gave, as it was."""
    return MalformedError(
        f"the cursor {text[:80]!r} cannot be used: {why}; hand back one that the server gave, or none",
        pointer="/cursor",
        code="bad_cursor",
    )
