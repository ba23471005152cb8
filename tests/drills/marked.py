"""Events of which some meet a defect, as ingest would have put them onto the raw topic; and where each of them got to.

Every event has a number in its payload, ascending within its match in the order in which it was sent.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from eventhub import topics
from eventhub.events import Match, Team
from eventhub.ingest.accept import Acceptor
from eventhub.kafka import Kafka, Partitioner, Writer, read_range
from eventhub.record import Outgoing
from tests.drills.defects import NEW_TYPE, Payload
from tests.drills.submissions import AWAY, HOME

MAX_DEPTH = 16
APPEND_S = 60


class Marked(NamedTuple):
    """One event: its number, the defect that it meets, if any, and its record."""

    number: int
    match_id: str
    defect: str | None
    event_id: str
    record: Outgoing


class Seen(NamedTuple):
    """An event as a topic has it, and when it was appended."""

    number: int
    match_id: str
    partition: int
    at_ms: int


class _Told(msgspec.Struct):
    type: str
    match_id: str
    payload: Payload


_told = msgspec.json.Decoder(_Told).decode


class Press:
    """Makes events, numbered on, as the product's own ingest accepts them."""

    def __init__(self, *, seed: int) -> None:
        self.made: list[Marked] = []
        self._rng = random.Random(seed)
        self._starts_at = datetime.now(UTC) - timedelta(hours=3)
        self._registry: dict[str, Match] = {}

    def make(self, matches: Sequence[str], defects: Sequence[str | None]) -> list[Marked]:
        """An event for each of these defects, in any of the matches; an unknown match is one more."""
        acceptor = Acceptor("broadcast", self._registry, {}, max_depth=MAX_DEPTH)
        made = []
        for number, defect in enumerate(defects, len(self.made)):
            match_id = f"{matches[0]}-{defect}" if defect == "unknown-match" else self._rng.choice(matches)
            made.append(self._one(acceptor, number, match_id, defect))
        self.made += made
        return made

    def spread(self, size: int, ill: int, kinds: Sequence[str]) -> list[str | None]:
        """`size` places of which `ill` meet a defect, each kind as often as any other, anywhere."""
        defects: list[str | None] = [None] * size
        for turn, place in enumerate(self._rng.sample(range(size), ill)):
            defects[place] = kinds[turn % len(kinds)]
        return defects

    def _one(self, acceptor: Acceptor, number: int, match_id: str, defect: str | None) -> Marked:
        teams = Team(HOME, "Reds"), Team(AWAY, "Blues")
        self._registry.setdefault(match_id, Match(match_id, *teams, self._starts_at))
        now = datetime.now(UTC)
        event = {
            "match_id": match_id,
            "type": NEW_TYPE
            if defect == "unknown-type"
            else self._rng.choices(("pass", "shot", "goal"), (95, 4, 1))[0],
            "occurred_at": now.isoformat(),
            "source_event_id": f"s{number}",
            "team_id": self._rng.choice((HOME, AWAY)),
            "period": "first_half",
            "clock_s": min(2_700.0, number / 100),
            "payload": {"n": number, "defect": defect} if defect is not None else {"n": number},
        }
        accepted = acceptor.accept(json.dumps(event).encode(), None, now, {})
        return Marked(number, match_id, defect, accepted.event_id, accepted.record)


async def put(writer: Writer, partitions: int, events: Sequence[Marked]) -> None:
    """Append them to the raw topic, in order, all partitions at once; returns once they are durable."""
    partition_of = Partitioner(partitions)
    rows: dict[int, list[Outgoing]] = {}
    for one in events:
        rows.setdefault(partition_of(one.match_id), []).append(one.record)
    await asyncio.gather(
        *(writer.append(topics.BROADCAST, partition, part, timeout_s=APPEND_S) for partition, part in rows.items())
    )


async def seen(cluster: Kafka, topic: str, partitions: int) -> list[Seen]:
    """Every event of these drills that the topic has, each partition in its order."""
    found = []
    for partition in range(partitions):
        async for records in read_range(cluster, topic, partition, 0):
            for one in records:
                if one.value is not None:
                    told = _told(one.value)
                    if told.type != "state":
                        found.append(Seen(told.payload.n, told.match_id, partition, one.timestamp))
    return found


def in_order(events: Iterable[Seen]) -> bool:
    """Whether the numbers of each match ascend."""
    last: dict[str, int] = {}
    for one in events:
        if one.number <= last.get(one.match_id, -1):
            return False
        last[one.match_id] = one.number
    return True
