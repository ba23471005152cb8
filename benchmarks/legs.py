"""Where an event's time goes between accept and frame, by the times that are on the records themselves.

Kafka stamps both topics when it appends (LogAppendTime, whole milliseconds, the same machine's clock). So the way falls
into three legs: from accept to the raw topic, from there to the log, from there to the socket.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from benchmarks.follow import Arrived
from eventhub import record, topics
from eventhub.kafka import Kafka, read_range


class Legs(NamedTuple):
    """Medians in ms: accept to raw topic, raw topic to log, log to frame."""

    to_raw_ms: float
    to_log_ms: float
    to_frame_ms: float


async def measure(cluster: Kafka, partitions: int, arrived: Sequence[Arrived]) -> Legs:
    """Of these events; fails when one of them is on no topic."""
    raw = await _appended(cluster, topics.BROADCAST, partitions)
    logged = await _appended(cluster, topics.LOG, partitions)
    rows = []
    for one in arrived:
        key, accepted_ms = UUID(one.event_id).bytes, one.at_ms - one.late_ms
        rows.append((raw[key] - accepted_ms, logged[key] - raw[key], one.at_ms - logged[key]))
    return Legs(*(round(statistics.median(leg), 2) for leg in zip(*rows, strict=True)))


async def _appended(cluster: Kafka, topic: str, partitions: int) -> dict[bytes, int]:
    """By event id when the topic got it."""
    tags, found = record.log_tags if topic == topics.LOG else record.raw_tags, {}
    for partition in range(partitions):
        async for records in read_range(cluster, topic, partition, 0):
            for one in records:
                if one.value is not None:
                    found[tags(record.head(one.headers)).event_id] = one.timestamp
    return found
