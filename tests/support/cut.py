"""A topic's tail cut off on the disk of a dead broker, as when what was acknowledged never reached it."""

import struct
from pathlib import Path

_BATCH = struct.Struct(">qi")
_COUNT_AT = 57
"""Place of a batch's record count (Kafka's protocol guide, record batch v2)."""


def batches(segment: bytes) -> list[tuple[int, int, int]]:
    """Of each batch of a segment: where it begins, its first offset, and how many records it has."""
    found, at = [], 0
    while at + _COUNT_AT + 4 <= len(segment):
        offset, length = _BATCH.unpack_from(segment, at)
        (count,) = struct.unpack_from(">i", segment, at + _COUNT_AT)
        if length <= 0 or count <= 0:
            break
        found.append((at, offset, count))
        at += _BATCH.size + length
    return found


def cut_tail(folder: Path, topic: str, partition: int, records: int) -> tuple[int, int]:
    """Remove the last batches, at least so many records, from the partition's last segment; returns its ends before
    and after.

    The broker must be dead, by SIGKILL: after a clean end it would believe its own notes and not look at the segment.
    """
    segment = max((folder / "log" / f"{topic}-{partition}").glob("*.log"))
    found = batches(segment.read_bytes())
    end = found[-1][1] + found[-1][2]
    at, first, _ = next(one for one in reversed(found) if one[1] <= end - records)
    with segment.open("r+b") as file:
        file.truncate(at)
    return end, first
