"""Snapshots of a partition's memory on `enrich-state`: a state at a log offset, in chunks, in two turns.

The turns (a, b) alternate, so that a snapshot cut short never spoils the one before it. A snapshot counts only when all
its chunks are there and it belongs to this incarnation of the log.
"""

import struct
from typing import NamedTuple

from eventhub import record, topics
from eventhub.kafka import FencedWriter, Kafka, read_range
from eventhub.record import Outgoing

CHUNK_BYTES = 700_000
_HEAD = struct.Struct(">qHH8s")


class Snapshot(NamedTuple):
    """A state that follows from the log below `offset`, with the packed vector that held there."""

    offset: int
    vector: bytes
    state: bytes


async def write(writer: FencedWriter, snapshot: Snapshot, *, turn: int, epoch: str) -> None:
    """Append a snapshot through the partition's fenced writer; returns when it is acknowledged."""
    blob = struct.pack(">H", len(snapshot.vector)) + snapshot.vector + snapshot.state
    pieces = [blob[i : i + CHUNK_BYTES] for i in range(0, len(blob), CHUNK_BYTES)]
    name = f"{writer.partition}.{'ab'[turn % 2]}"
    records = [
        Outgoing(f"{name}.{i}".encode(), piece, [("h", _HEAD.pack(snapshot.offset, i, len(pieces), epoch.encode()))])
        for i, piece in enumerate(pieces)
    ]
    await writer.write_aside(topics.ENRICH_STATE, records)


async def newest(kafka: Kafka, partition: int, *, epoch: str, below: int) -> Snapshot | None:
    """The newest whole snapshot of this partition at or below a log offset; None when there is none."""
    found: dict[int, dict[int, bytes]] = {}
    sizes: dict[int, int] = {}
    async for records in read_range(kafka, topics.ENRICH_STATE, partition, 0):
        for consumed in records:
            head = record.head(consumed.headers)
            if not head or consumed.value is None:
                continue
            offset, index, size, life = _HEAD.unpack(head)
            if life.decode() == epoch and offset <= below:
                found.setdefault(offset, {})[index] = consumed.value
                sizes[offset] = size
    whole = [offset for offset, chunks in found.items() if len(chunks) == sizes[offset]]
    if not whole:
        return None
    blob = b"".join(found[max(whole)][i] for i in range(sizes[max(whole)]))
    (length,) = struct.unpack_from(">H", blob)
    return Snapshot(max(whole), blob[2 : 2 + length], blob[2 + length :])
